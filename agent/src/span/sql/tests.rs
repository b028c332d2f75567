use super::*;

#[track_caller]
fn check(flavor: Flavor, text: &str, normalized: &str, summary: &str, collection: Option<&str>) {
    let digest = digest(text, flavor);
    assert_eq!(digest.text, normalized, "{text}");
    assert_eq!(digest.summary, summary, "{text}");
    assert_eq!(digest.collection.as_deref(), collection, "{text}");
}

#[track_caller]
fn summary(text: &str, summary: &str, collection: Option<&str>) {
    let digest = digest(text, Flavor::Postgresql);
    assert_eq!(digest.summary, summary, "{text}");
    assert_eq!(digest.collection.as_deref(), collection, "{text}");
}

#[test]
fn literals_are_hidden() {
    for (text, normalized) in [
        ("SELECT 1", "SELECT ?"),
        ("SELECT 'it''s', 1.5e-3, .5, 0x1F, 1_000", "SELECT ?, ?, ?, ?, ?"),
        (
            r"SELECT E'a\'b', B'10', X'1f', U&'d\0061' FROM t1",
            "SELECT ?, ?, ?, ? FROM t1",
        ),
        ("SELECT $1, $2::int, $$a'b$$, $q$ $$ $q$", "SELECT $1, $2::int, ?, ?"),
        (r"SELECT '\' , 'secret'", "SELECT ? , ?"),
        ("SELECT a FROM t WHERE b IN (1, 2,3)", "SELECT a FROM t WHERE b IN (?)"),
        (
            "SELECT a FROM t WHERE b IN ($1, $2)",
            "SELECT a FROM t WHERE b IN ($1, $2)",
        ),
        (
            "SELECT a FROM t WHERE b in ('x', lower('y'), 'z')",
            "SELECT a FROM t WHERE b in (?, lower(?), ?)",
        ),
        (
            "SELECT a -- secret\nFROM t /* 1 /* 2 */ 3 */ WHERE b=-7",
            "SELECT a \nFROM t WHERE b=-?",
        ),
        ("/* only */ SELECT\n  a", "SELECT\n  a"),
        ("SELECT 'never ends", "SELECT ?"),
        (
            "SELECT a[1], b->>'k', \"c\"\"d\" FROM \"T 1\"",
            "SELECT a[?], b->>?, \"c\"\"d\" FROM \"T 1\"",
        ),
        ("SELECT '日本', é FROM ü", "SELECT ?, é FROM ü"),
    ] {
        assert_eq!(digest(text, Flavor::Postgresql).text, normalized, "{text}");
    }
    for (text, normalized) in [
        (
            r#"SELECT "a\"b", 'c\'d', `e``f` FROM t # secret"#,
            "SELECT ?, ?, `e``f` FROM t",
        ),
        (
            "SELECT @a, @@b.c, x'1f' WHERE b IN ('1')",
            "SELECT @a, @@b.c, ? WHERE b IN (?)",
        ),
    ] {
        assert_eq!(digest(text, Flavor::Mysql).text, normalized, "{text}");
    }
}

#[test]
fn summaries() {
    summary("SELECT * FROM users", "SELECT users", Some("users"));
    summary(
        "select a, b from public.users u, \"Orders\" as o where u.id = o.id",
        "select public.users Orders",
        None,
    );
    summary(
        "INSERT INTO shipping_details (a, b) SELECT a, b FROM orders",
        "INSERT shipping_details SELECT orders",
        None,
    );
    summary(
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING id",
        "INSERT t",
        Some("t"),
    );
    summary(
        "UPDATE ONLY t AS x SET a = (SELECT max(b) FROM u)",
        "UPDATE t SELECT u",
        None,
    );
    summary("DELETE FROM t WHERE a = 1", "DELETE t", Some("t"));
    summary(
        "SELECT * FROM (SELECT a FROM t) x JOIN u USING (a) LEFT JOIN v ON v.a = u.a",
        "SELECT SELECT t u v",
        None,
    );
    summary(
        "SELECT extract(year FROM ts), trim(both ' ' from x) FROM t",
        "SELECT t",
        Some("t"),
    );
    summary("SELECT a IS DISTINCT FROM b FROM t", "SELECT t", Some("t"));
    summary("SELECT n FROM generate_series(1, 3) AS n, t", "SELECT t", Some("t"));
    summary("SELECT count(*) FROM t FOR UPDATE", "SELECT t", Some("t"));
    summary(
        "WITH x AS (SELECT a FROM t), y AS (SELECT 1) INSERT INTO u SELECT * FROM x",
        "SELECT t SELECT INSERT u SELECT",
        None,
    );
    summary(
        "SELECT a FROM t UNION ALL SELECT b FROM t",
        "SELECT t SELECT t",
        Some("t"),
    );
    summary("SELECT EXISTS(SELECT 1 FROM t)", "SELECT SELECT t", Some("t"));
    summary("CREATE TEMP TABLE IF NOT EXISTS t (a int)", "CREATE TABLE t", Some("t"));
    summary("DROP TABLE IF EXISTS t", "DROP TABLE t", Some("t"));
    summary("CREATE UNIQUE INDEX i ON t (a)", "CREATE INDEX", None);
    summary("TRUNCATE TABLE t", "TRUNCATE t", Some("t"));
    summary("COPY t (a, b) FROM STDIN", "COPY t", Some("t"));
    summary("COPY (SELECT a FROM t) TO STDOUT", "COPY SELECT t", Some("t"));
    summary("BEGIN; SELECT 1; COMMIT", "BEGIN SELECT COMMIT", None);
    summary(
        "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
        "MERGE t s",
        None,
    );
    summary("SET TIME ZONE 'UTC'", "SET", None);
    summary("", "", None);
    summary(";;", "", None);
}

#[test]
fn mysql_names() {
    check(
        Flavor::Mysql,
        "INSERT IGNORE INTO `shop`.`orders` VALUES (1, \"x\") ON DUPLICATE KEY UPDATE a = 2",
        "INSERT IGNORE INTO `shop`.`orders` VALUES (?, ?) ON DUPLICATE KEY UPDATE a = ?",
        "INSERT shop.orders",
        Some("shop.orders"),
    );
}

#[test]
fn sql_server_names() {
    check(
        Flavor::SqlServer,
        "SELECT TOP 5 [name], N'it''s', $12.50, 0x1f FROM [shop].[dbo].[order ]] items] o WHERE id = @P1 /* a /* b */ c */",
        "SELECT TOP ? [name], ?, ?, ? FROM [shop].[dbo].[order ]] items] o WHERE id = @P1",
        "SELECT shop.dbo.order ]] items",
        Some("shop.dbo.order ]] items"),
    );
    check(
        Flavor::SqlServer,
        "INSERT INTO #kept SELECT 1 FROM dbo.items WITH (NOLOCK) WHERE name = 'x'",
        "INSERT INTO #kept SELECT ? FROM dbo.items WITH (NOLOCK) WHERE name = ?",
        "INSERT #kept SELECT dbo.items",
        None,
    );
    check(
        Flavor::SqlServer,
        "EXEC dbo.both @a = 'x'",
        "EXEC dbo.both @a = ?",
        "EXEC",
        None,
    );
}

#[test]
fn a_summary_is_bounded() {
    let tables: Vec<String> = (0..200).map(|number| format!("table_{number}")).collect();
    let digest = digest(&format!("SELECT 1 FROM {}", tables.join(", ")), Flavor::Postgresql);
    assert!(digest.summary.len() <= MAX_SUMMARY && digest.summary.len() > 200);
    assert!(digest.summary.ends_with(|letter: char| letter.is_ascii_digit()));
}

#[test]
fn any_text_is_read() {
    let parts = [
        "SELECT", "'", "\"", "`", "[", "]", "#", "@", "$", "$a$", "--", "/*", "*/", "(", ")", ",", ";", ".", "1", "é",
        "\\", " IN ", "FROM ", "x", "WITH ",
    ];
    let mut state = 7_usize;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..state % 9 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(parts[(state >> 33) % parts.len()]);
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for flavor in [Flavor::Postgresql, Flavor::Mysql, Flavor::SqlServer] {
            let digest = digest(&text, flavor);
            assert!(digest.text.len() <= text.len() * 2 + 2, "{text}");
        }
    }
}
