module.exports = class IndexPhones1738368000000 {
  name = "IndexPhones1738368000000";

  async up(queryRunner) {
    await queryRunner.query(`CREATE INDEX users_phone ON users (phone)`);
  }

  async down(queryRunner) {
    await queryRunner.query(`DROP INDEX users_phone`);
  }
};
