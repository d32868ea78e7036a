CREATE TABLE {keys} (
  id          text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 100),
  owner       text NOT NULL CHECK (length(owner) BETWEEN 1 AND 1000),
  environment text NOT NULL DEFAULT '' CHECK (length(environment) <= 20),
  roles       text NOT NULL DEFAULT '[]' CHECK (length(roles) <= 60000),     -- JSON, as the three below
  scopes      text NOT NULL DEFAULT '[]' CHECK (length(scopes) <= 60000),
  addresses   text NOT NULL DEFAULT '[]' CHECK (length(addresses) <= 60000),
  secrets     text NOT NULL CHECK (length(secrets) <= 1000),                 -- [{"sha256": "…", "expires": "…"}]
  expires     text NOT NULL DEFAULT '' CHECK (length(expires) <= 40),        -- RFC 3339, as the two below; empty: never
  created     text NOT NULL DEFAULT '' CHECK (length(created) <= 40),
  revoked     text NOT NULL DEFAULT '' CHECK (length(revoked) <= 40),
  imported    boolean NOT NULL DEFAULT false,
  changed     bigint NOT NULL DEFAULT 0
);
CREATE INDEX {changed_index} ON {keys} (changed);
CREATE TABLE {version} (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch text NOT NULL, change bigint NOT NULL);
INSERT INTO {version} (epoch, change) VALUES (gen_random_uuid()::text, 0);
CREATE TABLE {use} (id text PRIMARY KEY CHECK (length(id) <= 100), used text NOT NULL CHECK (length(used) <= 40));

CREATE FUNCTION {count}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  UPDATE {version} SET change = change + 1;
  RETURN NULL;
END
$$;
CREATE FUNCTION {mark}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NEW.changed := (SELECT change FROM {version});
  IF TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
    UPDATE {version} SET epoch = gen_random_uuid()::text;
  END IF;
  RETURN NEW;
END
$$;
CREATE FUNCTION {removed}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  UPDATE {version} SET epoch = gen_random_uuid()::text;
  RETURN NULL;
END
$$;
CREATE TRIGGER kasbah_count BEFORE INSERT OR UPDATE ON {keys} FOR EACH STATEMENT EXECUTE FUNCTION {count}();
CREATE TRIGGER kasbah_mark BEFORE INSERT OR UPDATE ON {keys} FOR EACH ROW EXECUTE FUNCTION {mark}();
CREATE TRIGGER kasbah_removed AFTER DELETE OR TRUNCATE ON {keys} FOR EACH STATEMENT EXECUTE FUNCTION {removed}();
