module.exports = class CreateWallets1735689600000 {
  name = "CreateWallets1735689600000";

  async up(queryRunner) {
    await queryRunner.query(`CREATE TABLE wallets (
      id bigserial PRIMARY KEY,
      owner text NOT NULL,
      balance bigint NOT NULL DEFAULT 0 CHECK (balance >= 0)
    )`);
  }

  async down(queryRunner) {
    await queryRunner.query(`DROP TABLE wallets`);
  }
};
