CREATE TABLE regions (
    region_id integer PRIMARY KEY,
    name text NOT NULL,
    opened date
);
CREATE TABLE customers (
    customer_id integer PRIMARY KEY,
    region_id integer,
    name text NOT NULL,
    tier text NOT NULL,
    credit numeric(10, 2)
);
CREATE TABLE products (
    product_id integer PRIMARY KEY,
    category text NOT NULL,
    name text NOT NULL,
    price numeric(8, 2) NOT NULL,
    discontinued boolean NOT NULL
);
CREATE TABLE orders (
    order_id bigint PRIMARY KEY,
    customer_id integer,
    ordered_on date NOT NULL,
    status text NOT NULL,
    note text
);
CREATE TABLE order_lines (
    order_id bigint,
    line_no integer,
    product_id integer NOT NULL,
    quantity integer NOT NULL,
    unit_price numeric(8, 2) NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
-- shipments may arrive before their orders: no foreign key
CREATE TABLE shipments (
    shipment_id bigint PRIMARY KEY,
    order_id bigint,
    carrier text NOT NULL,
    shipped_on date,
    weight numeric(8, 3)
);
