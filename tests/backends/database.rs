//! A database of a test's own.

use std::net::SocketAddr;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A new, empty database.
pub struct Database {
    pub url: String,
    pub sql: PgConnection,
}

impl Database {
    pub async fn new(name: &str) -> Self {
        let server = crate::server("HB_TEST_POSTGRES_URL");
        let mut sql = PgConnection::connect(&server).await.unwrap();
        for statement in [format!("drop database if exists {name} with (force)"), format!("create database {name}")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut sql).await.unwrap();
        }
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let sql = PgConnection::connect(&url).await.unwrap();
        Self { url, sql }
    }

    pub async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.sql).await.unwrap();
    }

    pub async fn count(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.sql).await.unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.url.split(['@', '/']).find_map(|part| part.parse().ok()).unwrap()
    }

    /// The same database behind another address.
    pub fn at(&self, address: SocketAddr) -> String {
        self.url.replace(&self.address().to_string(), &address.to_string())
    }
}
