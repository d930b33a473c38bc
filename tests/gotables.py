# SPDX-License-Identifier: Apache-2.0
"""The original programs' tables, as their migrations leave them (NOTARY_V1 §3.4, §4.2)."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url

TABLES = {
    "postgresql": {
        "server": """
            CREATE TABLE tuf_files (
                id serial PRIMARY KEY, created_at timestamp, updated_at timestamp, deleted_at timestamp,
                gun varchar(255) NOT NULL, role varchar(255) NOT NULL, version integer NOT NULL, data bytea NOT NULL,
                sha256 char(64) DEFAULT NULL, UNIQUE (gun, role, version));
            CREATE INDEX tuf_files_sha256_idx ON tuf_files (sha256);
            CREATE TABLE change_category (category varchar(20) PRIMARY KEY);
            INSERT INTO change_category VALUES ('update'), ('deletion');
            CREATE TABLE changefeed (
                id serial PRIMARY KEY, created_at timestamp DEFAULT CURRENT_TIMESTAMP, gun varchar(255) NOT NULL,
                version integer NOT NULL, sha256 char(64) DEFAULT NULL,
                category varchar(20) NOT NULL DEFAULT 'update' REFERENCES change_category);
            CREATE INDEX idx_changefeed_gun ON changefeed (gun)
        """,
        "signer": """
            CREATE TABLE private_keys (
                id serial PRIMARY KEY, created_at timestamp, updated_at timestamp, deleted_at timestamp,
                key_id varchar(255) NOT NULL UNIQUE, encryption_alg varchar(255) NOT NULL,
                keywrap_alg varchar(255) NOT NULL, algorithm varchar(50) NOT NULL,
                passphrase_alias varchar(50) NOT NULL, public bytea NOT NULL, private bytea NOT NULL,
                gun varchar(255) NOT NULL, role varchar(255) NOT NULL, last_used timestamp NULL,
                UNIQUE (key_id, algorithm))
        """,
    },
    "mariadb": {
        "server": """
            CREATE TABLE tuf_files (
                id int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at timestamp NULL DEFAULT NULL,
                updated_at timestamp NULL DEFAULT NULL, deleted_at timestamp NULL DEFAULT NULL,
                gun varchar(255) NOT NULL, role varchar(255) NOT NULL, version int(11) NOT NULL,
                data longblob NOT NULL, sha256 char(64) DEFAULT NULL, UNIQUE KEY gun (gun, role, version),
                INDEX sha256 (sha256));
            CREATE TABLE change_category (category varchar(20) NOT NULL PRIMARY KEY);
            INSERT INTO change_category VALUES ('update'), ('deletion');
            CREATE TABLE changefeed (
                id int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at timestamp NULL DEFAULT CURRENT_TIMESTAMP,
                gun varchar(255) NOT NULL, version int(11) NOT NULL, sha256 char(64) DEFAULT NULL,
                category varchar(20) NOT NULL DEFAULT 'update', INDEX idx_changefeed_gun (gun),
                FOREIGN KEY (category) REFERENCES change_category (category))
        """,
        "signer": """
            CREATE TABLE private_keys (
                id int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at timestamp NULL DEFAULT NULL,
                updated_at timestamp NULL DEFAULT NULL, deleted_at timestamp NULL DEFAULT NULL,
                key_id varchar(255) NOT NULL UNIQUE, encryption_alg varchar(255) NOT NULL,
                keywrap_alg varchar(255) NOT NULL, algorithm varchar(50) NOT NULL,
                passphrase_alias varchar(50) NOT NULL, public blob NOT NULL, private blob NOT NULL,
                gun varchar(255) NOT NULL, role varchar(255) NOT NULL, last_used timestamp NULL DEFAULT NULL,
                UNIQUE KEY key_id_algorithm (key_id, algorithm))
        """,
    },
}


def make_tables(url: str, program: str) -> None:
    """Make the tables of the original `server` or `signer` in an empty database."""
    engine = create_engine(url)
    kind = "postgresql" if engine.dialect.name == "postgresql" else "mariadb"
    with engine.begin() as connection:
        for statement in TABLES[kind][program].split(";"):
            connection.exec_driver_sql(statement)
    engine.dispose()


def go_url(url: str) -> str:
    """The address of a database of ours as a Go program writes it."""
    parsed = make_url(url)
    if parsed.drivername.startswith("postgresql"):
        return f"postgres://{parsed.username}@/{parsed.database}?host={parsed.query['host']}&sslmode=disable"
    return f"{parsed.username}@unix({parsed.query['unix_socket']})/{parsed.database}?parseTime=true"
