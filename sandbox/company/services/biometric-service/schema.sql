CREATE TABLE IF NOT EXISTS templates (
  id bigserial PRIMARY KEY,
  person text NOT NULL,
  digest text NOT NULL,
  image bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS templates_person ON templates (person);
