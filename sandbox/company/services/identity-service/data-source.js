// Where the identity database is comes from PGHOST, PGPORT, PGUSER and PGPASSWORD.
const path = require("node:path");
const { DataSource } = require("typeorm");

module.exports = new DataSource({
  type: "postgres",
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT || 5432),
  username: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE || "identity",
  migrations: [path.join(__dirname, "migrations", "*.js")],
  logging: ["error", "schema", "migration"],
});
