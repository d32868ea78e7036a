-- Has PostgreSQL tell every Kasbah replica of a change as soon as it is committed. Without it the table is polled.
--
-- Run it once in the database of the table, as the table's owner; running it again changes nothing. If the table is not
-- casbin_rule, write its name in the four statements CREATE TRIGGER and DROP TRIGGER at the end.
--
-- A notification is one JSON object on the channel kasbah_policy: {"relation": 16384, "op": "UPDATE", "ids": [3, 7]}.
-- It has no ids where a statement changed more than some 300 rows, or where the table has no column id of an integer type;
-- the table is then read whole. Nothing of a rule stands in it: whoever may connect to the database may listen.

CREATE OR REPLACE FUNCTION kasbah_notify() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
  ids jsonb;
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT jsonb_agg(c.id) INTO ids FROM (SELECT to_jsonb(r) -> 'id' AS id FROM new_rows r LIMIT 301) c;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT jsonb_agg(c.id) INTO ids FROM (SELECT to_jsonb(r) -> 'id' AS id FROM old_rows r LIMIT 301) c;
  ELSIF TG_OP = 'UPDATE' THEN -- which may change the id too
    SELECT jsonb_agg(c.id) INTO ids FROM (
      (SELECT to_jsonb(r) -> 'id' AS id FROM new_rows r LIMIT 301)
      UNION
      (SELECT to_jsonb(r) -> 'id' AS id FROM old_rows r LIMIT 301)) c;
  END IF;
  IF ids IS NULL AND TG_OP <> 'TRUNCATE' THEN
    RETURN NULL; -- the statement changed no row
  END IF;
  -- PostgreSQL refuses a notification of 8000 bytes, and with it the writer's transaction.
  IF jsonb_array_length(ids) > 300 OR jsonb_typeof(ids -> 0) <> 'number' OR length(ids::text) > 7000 THEN
    ids := NULL;
  END IF;
  PERFORM pg_notify('kasbah_policy', jsonb_strip_nulls(jsonb_build_object('relation', TG_RELID::bigint, 'op', TG_OP, 'ids', ids))::text);
  RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS kasbah_insert ON casbin_rule;
DROP TRIGGER IF EXISTS kasbah_update ON casbin_rule;
DROP TRIGGER IF EXISTS kasbah_delete ON casbin_rule;
DROP TRIGGER IF EXISTS kasbah_truncate ON casbin_rule;
CREATE TRIGGER kasbah_insert AFTER INSERT ON casbin_rule
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION kasbah_notify();
CREATE TRIGGER kasbah_update AFTER UPDATE ON casbin_rule
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION kasbah_notify();
CREATE TRIGGER kasbah_delete AFTER DELETE ON casbin_rule
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION kasbah_notify();
CREATE TRIGGER kasbah_truncate AFTER TRUNCATE ON casbin_rule
  FOR EACH STATEMENT EXECUTE FUNCTION kasbah_notify();
