CREATE TABLE IF NOT EXISTS transactions (
  id bigserial PRIMARY KEY,
  sender text NOT NULL,
  receiver text NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  state text NOT NULL DEFAULT 'booked',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS transactions_sender ON transactions (sender);
