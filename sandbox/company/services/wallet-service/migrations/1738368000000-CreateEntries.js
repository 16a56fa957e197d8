module.exports = class CreateEntries1738368000000 {
  name = "CreateEntries1738368000000";

  async up(queryRunner) {
    await queryRunner.query(`CREATE TABLE entries (
      id bigserial PRIMARY KEY,
      wallet bigint NOT NULL REFERENCES wallets (id),
      amount bigint NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    )`);
  }

  async down(queryRunner) {
    await queryRunner.query(`DROP TABLE entries`);
  }
};
