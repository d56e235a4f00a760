//! The views of the figures, and for each what one would write by hand.

/// A materialized view and its rival.
pub(crate) struct View {
    pub(crate) figure: &'static str,
    /// As in the figures.
    pub(crate) title: &'static str,
    pub(crate) query: &'static str,
    /// The columns by which its rows are unique.
    pub(crate) key: &'static str,
    /// The statement that merges `hand_log` into `hand_<figure>`, a table like the view.
    pub(crate) merge: &'static str,
    /// What the table has beside the view's columns.
    pub(crate) extra: Option<(&'static str, &'static str)>,
    /// How much dearer than by hand it may be.
    pub(crate) reach: &'static str,
}

/// For changed orders, a changed product, changed customers. Of the latter nothing but other columns changes.
pub(crate) const JOIN_MERGES: [&str; 3] = [
    "MERGE INTO hand_join AS v USING (
         SELECT k.order_id AS id, q.* FROM (SELECT DISTINCT order_id FROM hand_log) AS k LEFT JOIN (
             SELECT o.order_id, o.quantity, o.amount, o.ordered_on, c.name, c.region, p.title, p.price
             FROM orders o JOIN customers c USING (customer_id) JOIN products p USING (product_id)
         ) AS q ON q.order_id = k.order_id) AS s
     ON v.order_id = s.id
     WHEN MATCHED AND s.order_id IS NULL THEN DELETE
     WHEN MATCHED AND (v.quantity, v.amount, v.ordered_on, v.name, v.region, v.title, v.price)
         IS DISTINCT FROM (s.quantity, s.amount, s.ordered_on, s.name, s.region, s.title, s.price)
         THEN UPDATE SET quantity = s.quantity, amount = s.amount, ordered_on = s.ordered_on, name = s.name,
                         region = s.region, title = s.title, price = s.price
     WHEN NOT MATCHED AND s.order_id IS NOT NULL THEN INSERT
         VALUES (s.order_id, s.quantity, s.amount, s.ordered_on, s.name, s.region, s.title, s.price)",
    "MERGE INTO hand_join AS v USING (
         SELECT o.order_id, p.title, p.price
         FROM products p JOIN orders o USING (product_id) WHERE p.product_id = ANY (ARRAY(SELECT product_id FROM hand_products))) AS s
     ON v.order_id = s.order_id
     WHEN MATCHED AND (v.title, v.price) IS DISTINCT FROM (s.title, s.price) THEN UPDATE SET title = s.title, price = s.price",
    "MERGE INTO hand_join AS v USING (
         SELECT o.order_id, c.name, c.region
         FROM customers c JOIN orders o USING (customer_id) WHERE c.customer_id = ANY (ARRAY(SELECT customer_id FROM hand_customers))) AS s
     ON v.order_id = s.order_id
     WHEN MATCHED AND (v.name, v.region) IS DISTINCT FROM (s.name, s.region) THEN UPDATE SET name = s.name, region = s.region",
];

pub(crate) const VIEWS: [View; 6] = [
    View {
        figure: "join",
        title: "join (V1)",
        query: "SELECT o.order_id, o.quantity, o.amount, o.ordered_on, c.name, c.region, p.title, p.price
                FROM orders o JOIN customers c USING (customer_id) JOIN products p USING (product_id)",
        key: "order_id",
        merge: JOIN_MERGES[0],
        extra: None,
        reach: "≤ 1.25 ×",
    },
    View {
        figure: "customer",
        title: "GROUP BY customer (V2)",
        query: "SELECT customer_id, count(*) AS orders, sum(amount) AS total FROM orders GROUP BY customer_id",
        key: "customer_id",
        merge: "MERGE INTO hand_customer AS v USING (
                    SELECT customer_id, sum(weight) AS orders, sum(weight * amount) AS total FROM hand_log GROUP BY customer_id) AS d
                ON v.customer_id = d.customer_id
                WHEN MATCHED AND v.orders + d.orders = 0 THEN DELETE
                WHEN MATCHED THEN UPDATE SET orders = v.orders + d.orders, total = v.total + d.total
                WHEN NOT MATCHED AND d.orders > 0 THEN INSERT VALUES (d.customer_id, d.orders, d.total)",
        extra: None,
        reach: "≤ 1.25 ×",
    },
    View {
        figure: "region",
        title: "GROUP BY region (V3)",
        query: "SELECT c.region, count(*) AS orders, sum(o.amount) AS total
                FROM orders o JOIN customers c USING (customer_id) GROUP BY c.region",
        key: "region",
        merge: "MERGE INTO hand_region AS v USING (
                    SELECT c.region, sum(l.weight) AS orders, sum(l.weight * l.amount) AS total
                    FROM hand_log l JOIN customers c USING (customer_id) GROUP BY c.region) AS d
                ON v.region = d.region
                WHEN MATCHED AND v.orders + d.orders = 0 THEN DELETE
                WHEN MATCHED THEN UPDATE SET orders = v.orders + d.orders, total = v.total + d.total
                WHEN NOT MATCHED AND d.orders > 0 THEN INSERT VALUES (d.region, d.orders, d.total)",
        extra: None,
        reach: "≤ 1.25 ×",
    },
    View {
        figure: "extrema",
        title: "min and max per product (V4)",
        query: "SELECT product_id, min(amount) AS smallest, max(amount) AS largest FROM orders GROUP BY product_id",
        key: "product_id",
        // an index on (product_id, amount) gives both
        merge: "MERGE INTO hand_extrema AS v USING (
                    SELECT k.product_id,
                           (SELECT min(amount) FROM orders o WHERE o.product_id = k.product_id) AS smallest,
                           (SELECT max(amount) FROM orders o WHERE o.product_id = k.product_id) AS largest
                    FROM (SELECT DISTINCT product_id FROM hand_log) AS k) AS d
                ON v.product_id = d.product_id
                WHEN MATCHED AND d.smallest IS NULL THEN DELETE
                WHEN MATCHED AND (v.smallest, v.largest) IS DISTINCT FROM (d.smallest, d.largest)
                    THEN UPDATE SET smallest = d.smallest, largest = d.largest
                WHEN NOT MATCHED AND d.smallest IS NOT NULL THEN INSERT VALUES (d.product_id, d.smallest, d.largest)",
        extra: None,
        reach: "≤ 2 ×",
    },
    View {
        figure: "left",
        title: "LEFT JOIN (V5)",
        query: "SELECT c.customer_id, c.name, o.order_id, o.amount FROM customers c LEFT JOIN orders o USING (customer_id)",
        key: "order_id, customer_id",
        // the orders as in a join; then the customers that have got their first one or lost their last one
        merge: "MERGE INTO hand_left AS v USING (
                    SELECT k.order_id AS id, q.* FROM (SELECT DISTINCT order_id FROM hand_log) AS k LEFT JOIN (
                        SELECT c.customer_id, c.name, o.order_id, o.amount FROM orders o JOIN customers c USING (customer_id)
                    ) AS q ON q.order_id = k.order_id) AS s
                ON v.order_id = s.id
                WHEN MATCHED AND s.order_id IS NULL THEN DELETE
                WHEN MATCHED AND (v.customer_id, v.name, v.amount) IS DISTINCT FROM (s.customer_id, s.name, s.amount)
                    THEN UPDATE SET customer_id = s.customer_id, name = s.name, amount = s.amount
                WHEN NOT MATCHED AND s.order_id IS NOT NULL THEN INSERT VALUES (s.customer_id, s.name, s.order_id, s.amount);
                DELETE FROM hand_left AS v USING (SELECT DISTINCT customer_id FROM hand_log WHERE weight > 0) AS k
                WHERE v.customer_id = k.customer_id AND v.order_id IS NULL
                    AND EXISTS (SELECT FROM orders o WHERE o.customer_id = k.customer_id);
                INSERT INTO hand_left
                SELECT c.customer_id, c.name, NULL, NULL
                FROM (SELECT DISTINCT customer_id FROM hand_log WHERE weight < 0) AS k JOIN customers c USING (customer_id)
                WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id)
                    AND NOT EXISTS (SELECT FROM hand_left AS v WHERE v.customer_id = c.customer_id AND v.order_id IS NULL)",
        extra: None,
        reach: "≤ 2 ×",
    },
    View {
        figure: "distinct",
        title: "DISTINCT (V6)",
        query: "SELECT DISTINCT customer_id, product_id FROM orders",
        key: "customer_id, product_id",
        // with a count more than the view has
        merge: "MERGE INTO hand_distinct AS v USING (
                    SELECT customer_id, product_id, sum(weight) AS rows FROM hand_log
                    GROUP BY customer_id, product_id HAVING sum(weight) <> 0) AS d
                ON v.customer_id = d.customer_id AND v.product_id = d.product_id
                WHEN MATCHED AND v.rows + d.rows = 0 THEN DELETE
                WHEN MATCHED THEN UPDATE SET rows = v.rows + d.rows
                WHEN NOT MATCHED AND d.rows > 0 THEN INSERT VALUES (d.customer_id, d.product_id, d.rows)",
        extra: Some(("rows", "SELECT customer_id, product_id, count(*) AS rows FROM orders GROUP BY customer_id, product_id")),
        reach: "≤ 2 ×",
    },
];
