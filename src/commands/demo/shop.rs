//! The shop: its tables and the rows it begins with.

use std::ops::RangeInclusive;

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::error::CommandError;

const TABLES: &str = "
    CREATE TABLE customers (
        customer_id integer PRIMARY KEY,
        name text NOT NULL,
        city text NOT NULL
    );
    CREATE TABLE products (
        product_id integer PRIMARY KEY,
        name text NOT NULL,
        category text NOT NULL,
        price numeric(8,2) NOT NULL
    );
    CREATE TABLE orders (
        order_id integer PRIMARY KEY,
        customer_id integer NOT NULL,
        ordered_on date NOT NULL,
        status text NOT NULL CHECK (status IN ('open', 'paid', 'shipped'))
    );
    CREATE TABLE order_lines (
        order_id integer NOT NULL,
        line smallint NOT NULL,
        product_id integer NOT NULL,
        quantity integer NOT NULL,
        unit_price numeric(8,2) NOT NULL,
        PRIMARY KEY (order_id, line)
    );
    CREATE SEQUENCE order_ids;";

/// After the rows, as that is faster than looking after each.
const REST: &str = "
    ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers;
    ALTER TABLE order_lines ADD FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE;
    ALTER TABLE order_lines ADD FOREIGN KEY (product_id) REFERENCES products;
    CREATE INDEX ON orders (customer_id);
    CREATE INDEX ON order_lines (product_id);
    SELECT setval('order_ids', (SELECT max(order_id) FROM orders));
    ANALYZE customers, products, orders, order_lines;";

/// The cities that customers live in and move to.
pub(super) const CITIES: [&str; 12] = [
    "Amsterdam",
    "Bologna",
    "Cork",
    "Dresden",
    "Evora",
    "Freiburg",
    "Gdansk",
    "Helsinki",
    "Ioannina",
    "Jena",
    "Krakow",
    "Lyon",
];

/// Orders per statement: often enough for a progress bar that moves.
const ORDERS_AT_ONCE: u32 = 6_000;

/// How many rows there are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) customers: u32,
    pub(super) products: u32,
    pub(super) orders: u32,
}

impl Size {
    /// The shop's size in percent.
    pub(super) fn scaled(percent: u32) -> Self {
        Self {
            customers: 100 * percent,
            products: 10 * percent,
            orders: 600 * percent,
        }
    }

    /// Rows of all tables, about.
    pub(super) fn rows(self) -> u64 {
        let lines = u64::from(self.orders) * 13 / 6;
        u64::from(self.customers) + u64::from(self.products) + u64::from(self.orders) + lines
    }
}

/// Creates the tables and fills them, calling `progress` with the rows added.
pub(super) async fn load(
    connection: &mut PgConnection,
    size: Size,
    mut progress: impl FnMut(u64),
) -> Result<(), CommandError> {
    connection.execute(TABLES).await?;
    let products = sqlx::query(
        "INSERT INTO products
         SELECT n, 'product ' || n, (ARRAY['books', 'garden', 'games', 'kitchen', 'music', 'tools'])[1 + n % 6],
                1 + n * 7919 % 9900 / 100.0
         FROM generate_series(1, $1) AS n",
    );
    progress(insert(connection, products.bind(number(size.products))).await?);
    let customers = sqlx::query(
        "INSERT INTO customers
         SELECT n, 'customer ' || n, ($2::text[])[1 + n * 31 % cardinality($2)] FROM generate_series(1, $1) AS n",
    );
    let customers = customers
        .bind(number(size.customers))
        .bind(CITIES.as_slice());
    progress(insert(connection, customers).await?);
    for orders in portions(size.orders) {
        progress(load_orders(connection, size, &orders).await?);
    }
    connection.execute(REST).await?;
    Ok(())
}

async fn load_orders(
    connection: &mut PgConnection,
    size: Size,
    orders: &RangeInclusive<u32>,
) -> Result<u64, CommandError> {
    // $1 to $2 are the orders, $3 is the number of customers and of products
    let heads = sqlx::query(
        "INSERT INTO orders
         SELECT n, 1 + n::bigint * 48271 % $3, current_date - 1 - n % 365,
                CASE WHEN n % 20 = 0 THEN 'open' WHEN n % 10 = 0 THEN 'paid' ELSE 'shipped' END
         FROM generate_series($1, $2) AS n",
    );
    let lines = sqlx::query(
        "INSERT INTO order_lines
         SELECT n, line, product_id, 1 + (n + line) % 4, price
         FROM generate_series($1, $2) AS n,
              generate_series(1, 1 + n % 3 + (n % 6 = 0)::integer) AS line,
              LATERAL (SELECT 1 + (n::bigint * 16807 + line * 337) % $3 AS wanted) AS w
              JOIN products ON product_id = wanted",
    );
    let mut rows = 0;
    for (query, pool) in [(heads, size.customers), (lines, size.products)] {
        let query = query
            .bind(number(*orders.start()))
            .bind(number(*orders.end()));
        rows += insert(connection, query.bind(number(pool))).await?;
    }
    Ok(rows)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

async fn insert(connection: &mut PgConnection, query: Query<'_>) -> Result<u64, CommandError> {
    Ok(query.execute(connection).await?.rows_affected())
}

/// The command line's largest scale stays far below the limit.
fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn portions(orders: u32) -> impl Iterator<Item = RangeInclusive<u32>> {
    let step = usize::try_from(ORDERS_AT_ONCE).unwrap_or(usize::MAX);
    (1..=orders)
        .step_by(step)
        .map(move |first| first..=(first + ORDERS_AT_ONCE - 1).min(orders))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_in_one_portion() {
        for orders in [1, 600, 6_000, 6_001, 60_000] {
            let all: Vec<u32> = portions(orders).flatten().collect();
            assert_eq!(all, (1..=orders).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_whole_shop_is_about_two_hundred_thousand_rows() {
        assert_eq!(Size::scaled(100).rows(), 201_000);
    }
}
