CREATE TABLE {keys} (
  id          TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 100),
  owner       TEXT NOT NULL CHECK (length(owner) BETWEEN 1 AND 1000),
  environment TEXT NOT NULL DEFAULT '' CHECK (length(environment) <= 20),
  roles       TEXT NOT NULL DEFAULT '[]' CHECK (length(roles) <= 60000),     -- JSON, as the three below
  scopes      TEXT NOT NULL DEFAULT '[]' CHECK (length(scopes) <= 60000),
  addresses   TEXT NOT NULL DEFAULT '[]' CHECK (length(addresses) <= 60000),
  secrets     TEXT NOT NULL CHECK (length(secrets) <= 1000),                 -- [{"sha256": "…", "expires": "…"}]
  expires     TEXT NOT NULL DEFAULT '' CHECK (length(expires) <= 40),        -- RFC 3339, as the two below; empty: never
  created     TEXT NOT NULL DEFAULT '' CHECK (length(created) <= 40),
  revoked     TEXT NOT NULL DEFAULT '' CHECK (length(revoked) <= 40),
  imported    INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1)),
  changed     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX {changed_index} ON {keys} (changed);
CREATE TABLE {version} (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, change INTEGER NOT NULL) STRICT;
INSERT INTO {version} VALUES (1, lower(hex(randomblob(16))), 0);
CREATE TABLE {use} (id TEXT NOT NULL PRIMARY KEY CHECK (length(id) <= 100), used TEXT NOT NULL CHECK (length(used) <= 40)) STRICT;

CREATE TRIGGER {mark} AFTER INSERT ON {keys} BEGIN
  UPDATE {version} SET change = change + 1;
  UPDATE {keys} SET changed = (SELECT change FROM {version}) WHERE id = NEW.id;
END;
CREATE TRIGGER {count} AFTER UPDATE OF id, owner, environment, roles, scopes, addresses, secrets, expires, created, revoked, imported ON {keys} BEGIN
  UPDATE {version} SET change = change + 1;
  UPDATE {version} SET epoch = lower(hex(randomblob(16))) WHERE OLD.id <> NEW.id;
  UPDATE {keys} SET changed = (SELECT change FROM {version}) WHERE id = NEW.id;
END;
CREATE TRIGGER {removed} AFTER DELETE ON {keys} BEGIN
  UPDATE {version} SET epoch = lower(hex(randomblob(16)));
END;
