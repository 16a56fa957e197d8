module.exports = class AddPhoneVerified1740787200000 {
  name = "AddPhoneVerified1740787200000";

  async up(queryRunner) {
    await queryRunner.query(`ALTER TABLE users ADD COLUMN phone_verified boolean NOT NULL DEFAULT false`);
  }

  async down(queryRunner) {
    await queryRunner.query(`ALTER TABLE users DROP COLUMN phone_verified`);
  }
};
