// Verifies each token that comes on standard input by the JWKS of a URL, and answers with its subject or with what was wrong.
import { createInterface } from "node:readline";

const [library, url] = process.argv.slice(2);
const { createRemoteJWKSet, jwtVerify } = await import(library);
// An unknown kid is asked for at once; by default jose waits half a minute between two times.
const keys = createRemoteJWKSet(new URL(url), { cooldownDuration: 0 });

for await (const token of createInterface({ input: process.stdin })) {
  try {
    const { payload } = await jwtVerify(token, keys);
    console.log(payload.sub);
  } catch (error) {
    console.log(error.code);
  }
}
