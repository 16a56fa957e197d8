CREATE TABLE IF NOT EXISTS agents (
  id bigserial PRIMARY KEY,
  name text NOT NULL,
  region text NOT NULL,
  float_cents bigint NOT NULL DEFAULT 0
);
