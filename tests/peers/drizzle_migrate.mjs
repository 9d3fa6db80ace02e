// Applies a folder of migrations by drizzle-orm's own migrator: node drizzle_migrate.mjs FOLDER CONNECTION
import { drizzle } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";

const [folder, connection] = process.argv.slice(2);
const client = new pg.Client(JSON.parse(connection));
await client.connect();
try {
  await migrate(drizzle(client), { migrationsFolder: folder });
} catch (error) {
  console.error(error.cause?.message ?? error.message);
  process.exitCode = 1;
} finally {
  await client.end();
}
