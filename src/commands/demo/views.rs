//! The materialized views of the demo, created as their owner would.

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::error::CommandError;
use crate::sql::ModuleSchema;

/// The statements that make each of them; `@.` stands for the module schema. A unique index lets a refresh update rows
/// instead of replacing them.
///
/// No query depends on the time or on ties, or it could not be verified.
pub(super) const EXAMPLES: [&str; 9] = [
    "SELECT @.create_materialized_view('orders_by_status', refresh_rate_in_sec => 1, query => $$
              SELECT status, count(*) AS orders FROM orders GROUP BY status $$);
          CREATE UNIQUE INDEX ON orders_by_status (status)",
    "SELECT @.create_materialized_view('category_sales', refresh_rate_in_sec => 2, query => $$
              SELECT category, sum(quantity) AS units, sum(quantity * unit_price) AS revenue
              FROM order_lines JOIN products USING (product_id) GROUP BY category $$);
          CREATE UNIQUE INDEX ON category_sales (category)",
    "SELECT @.create_materialized_view('city_sales', refresh_rate_in_sec => 5, query => $$
              SELECT city, status, count(DISTINCT order_id) AS orders, sum(quantity * unit_price) AS revenue
              FROM customers JOIN orders USING (customer_id) JOIN order_lines USING (order_id)
              GROUP BY city, status $$)",
    "SELECT @.create_materialized_view('customer_totals', refresh_rate_in_sec => 5, query => $$
              SELECT customer_id, count(*) AS lines, sum(quantity * unit_price) AS spent
              FROM orders JOIN order_lines USING (order_id) GROUP BY customer_id $$);
          CREATE UNIQUE INDEX ON customer_totals (customer_id)",
    // reads another materialized view: refreshed after it
    "SELECT @.create_materialized_view('best_customers', refresh_rate_in_sec => 10, query => $$
              SELECT rank, name, city, spent
              FROM (SELECT *, rank() OVER (ORDER BY spent DESC) AS rank FROM customer_totals) AS ranked
              JOIN customers USING (customer_id) WHERE rank <= 100 $$)",
    // two views of one refresh group: always of one snapshot, so that they add up
    "SELECT @.create_materialized_view('open_orders', refresh_rate_in_sec => 15, refresh_group => 'books', query => $$
              SELECT order_id, customer_id, ordered_on, sum(quantity * unit_price) AS amount
              FROM orders JOIN order_lines USING (order_id) WHERE status = 'open' GROUP BY order_id $$);
          CREATE UNIQUE INDEX ON open_orders (order_id)",
    "SELECT @.create_materialized_view('daily_revenue', refresh_rate_in_sec => 15, refresh_group => 'books', query => $$
              SELECT ordered_on, sum(quantity * unit_price) AS revenue
              FROM orders JOIN order_lines USING (order_id) WHERE status <> 'open' GROUP BY ordered_on $$);
          CREATE UNIQUE INDEX ON daily_revenue (ordered_on)",
    // emptied and loaded again, every minute of the clock
    "SELECT @.create_materialized_view('order_search', refresh_cron => '* * * * *', complete_form => 'rebuild', query => $$
              SELECT order_id, line, c.name AS customer, p.name AS product, quantity, status
              FROM orders JOIN order_lines USING (order_id) JOIN customers c USING (customer_id)
              JOIN products p USING (product_id) $$);
          CREATE INDEX ON order_search (customer)",
    // what people have already: scheduled as it is
    "CREATE MATERIALIZED VIEW price_list AS SELECT product_id, name, category, price FROM products;
          CREATE UNIQUE INDEX ON price_list (product_id);
          SELECT @.adopt_materialized_view('price_list', refresh_rate_in_sec => 30)",
];

/// Creates and fills one.
pub(super) async fn create(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
    example: &str,
) -> Result<(), CommandError> {
    connection
        .execute(sqlx::raw_sql(schema.sql(example)))
        .await?;
    Ok(())
}
