CREATE TABLE {names} (
  claim   text NOT NULL CHECK (claim IN ('jti', 'sid', 'sub', 'iss')),
  issuer  text NOT NULL DEFAULT '' CHECK (length(issuer) <= 2048),
  value   text NOT NULL DEFAULT '' CHECK (length(value) <= 1000),
  windows text NOT NULL DEFAULT '[["",""]]' CHECK (length(windows) <= 10000), -- JSON: pairs of before and until, RFC 3339; empty: everything, for good
  ends    timestamptz,                                                        -- the last until; null: never
  digest  bytea PRIMARY KEY,                                                  -- of the first three, by the trigger
  changed bigint NOT NULL DEFAULT 0,
  CHECK (CASE claim WHEN 'iss' THEN issuer <> '' AND value = '' ELSE value <> '' END)
);
CREATE INDEX {changed_index} ON {names} (changed);
CREATE INDEX {ends_index} ON {names} (ends);
CREATE TABLE {version} (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch text NOT NULL, change bigint NOT NULL, cut bigint NOT NULL);
INSERT INTO {version} (epoch, change, cut) VALUES (gen_random_uuid()::text, 0, 0);

CREATE FUNCTION {count}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  UPDATE {version} SET change = change + 1;
  RETURN NULL;
END
$$;
CREATE FUNCTION {mark}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NEW.digest := sha256(convert_to(NEW.claim || E'\n' || NEW.issuer || E'\n' || NEW.value, 'UTF8'));
  NEW.changed := (SELECT change FROM {version});
  IF TG_OP = 'UPDATE' AND NEW.digest <> OLD.digest THEN
    UPDATE {version} SET cut = cut + 1;
  END IF;
  RETURN NEW;
END
$$;
CREATE FUNCTION {removed}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF OLD.ends IS NULL OR OLD.ends > now() THEN
    UPDATE {version} SET cut = cut + 1;
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION {emptied}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  UPDATE {version} SET cut = cut + 1;
  RETURN NULL;
END
$$;
CREATE TRIGGER kasbah_count BEFORE INSERT OR UPDATE ON {names} FOR EACH STATEMENT EXECUTE FUNCTION {count}();
CREATE TRIGGER kasbah_mark BEFORE INSERT OR UPDATE ON {names} FOR EACH ROW EXECUTE FUNCTION {mark}();
CREATE TRIGGER kasbah_removed AFTER DELETE ON {names} FOR EACH ROW EXECUTE FUNCTION {removed}();
CREATE TRIGGER kasbah_emptied AFTER TRUNCATE ON {names} FOR EACH STATEMENT EXECUTE FUNCTION {emptied}();
