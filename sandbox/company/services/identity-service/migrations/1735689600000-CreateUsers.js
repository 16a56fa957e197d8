module.exports = class CreateUsers1735689600000 {
  name = "CreateUsers1735689600000";

  async up(queryRunner) {
    await queryRunner.query(`CREATE TABLE users (
      id bigserial PRIMARY KEY,
      name text NOT NULL,
      phone text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    )`);
  }

  async down(queryRunner) {
    await queryRunner.query(`DROP TABLE users`);
  }
};
