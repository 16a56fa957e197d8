CREATE TABLE IF NOT EXISTS sessions (
  id bigserial PRIMARY KEY,
  phone text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
