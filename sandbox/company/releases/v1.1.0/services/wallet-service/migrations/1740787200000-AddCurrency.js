module.exports = class AddCurrency1740787200000 {
  name = "AddCurrency1740787200000";

  async up(queryRunner) {
    await queryRunner.query(`ALTER TABLE wallets ADD COLUMN currency text NOT NULL DEFAULT 'KES'`);
  }

  async down(queryRunner) {
    await queryRunner.query(`ALTER TABLE wallets DROP COLUMN currency`);
  }
};
