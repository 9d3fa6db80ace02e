import { pgTable, pgEnum, uuid, varchar, text, integer, bigint, bigserial, serial, timestamp, boolean, jsonb, numeric, char, date, time, doublePrecision, real, smallint, index, uniqueIndex, unique, check, foreignKey, primaryKey, pgPolicy, pgView, pgSequence, pgSchema, interval, inet } from 'drizzle-orm/pg-core';
import { sql } from 'drizzle-orm';
export const role = pgEnum('auth_role', ['admin','user']);
export const mixed = pgEnum('MixedCase', ['a','it\'s']);
export const other = pgSchema('billing');
export const invoices = other.table('invoices', { id: serial('id').primaryKey(), total: numeric('total',{precision:10,scale:2}).notNull().default('0') });
export const users = pgTable('users', {
  id: uuid('id').primaryKey().defaultRandom(),
  email: varchar('email',{length:255}).notNull(),
  role: role('role').notNull().default('user'),
  roles: varchar('roles').array().notNull().default(sql`'{viewer}'`),
  tags: text('tags').array().notNull().default([]),
  m: mixed('m').default('it\'s'),
  ms: mixed('ms').array(),
  age: integer('age').default(-1),
  big: bigint('big',{mode:'number'}).default(0),
  ok: boolean('ok').default(false).notNull(),
  meta: jsonb('meta').default({a:1,b:{c:"x"}}),
  pct: numeric('pct',{precision:5,scale:2}),
  n: numeric('n'),
  hash: char('hash',{length:64}),
  d: date('d').defaultNow(), t: time('t'), iv: interval('iv'), ip: inet('ip'),
  dp: doublePrecision('dp').default(1.5), r: real('r'), si: smallint('si'),
  ident: integer('ident').generatedAlwaysAsIdentity(),
  gen: text('gen').generatedAlwaysAs(sql`lower(email)`),
  ts: timestamp('ts'), tz: timestamp('tz',{withTimezone:true, precision:3}).defaultNow().notNull(),
  tu: timestamp('tu').default(sql`CURRENT_TIMESTAMP`),
  tx: timestamp('tx').default(sql`(now() at time zone 'utc')`),
}, (t) => [
  index('idx_a').on(t.email.desc().nullsLast(), t.role),
  index('idx_gin').using('gin', t.meta),
  index('idx_op').on(t.email.op('text_pattern_ops')),
  uniqueIndex('idx_expr').on(sql`lower(${t.email})`).where(sql`${t.ok} = true and ${t.age} in (1,2)`),
  unique('u_email_role').on(t.email, t.role).nullsNotDistinct(),
  check('age_check', sql`${t.age} > 0 and ${t.role} in ('admin','user') and ${t.age} between 1 and 5 and ${t.email} like '%@%' and ${t.email} != 'x' and ${t.hash} ~ '^[A-Z]+$'`),
  pgPolicy('p_sel', { as: 'permissive', for: 'select', to: 'public', using: sql`${t.ok} = true` }),
  pgPolicy('p_upd', { as: 'restrictive', for: 'update', to: 'current_user', using: sql`true`, withCheck: sql`${t.age} > 0` }),
]);
export const posts = pgTable('posts_with_a_very_long_table_name_that_goes_on', {
  userIdentifierColumn: uuid('user_identifier_column').notNull().references(() => users.id, {onDelete:'cascade'}),
  k: bigserial('k',{mode:'number'}), slug: text('slug').unique(),
  inv: integer('inv').references(()=>invoices.id),
}, (t)=>[primaryKey({name:'posts_pk', columns:[t.userIdentifierColumn,t.k]})]);
export const rls = pgTable('rls', {id: integer('id').primaryKey()}).enableRLS();
export const v = pgView('v_users').as((qb)=>qb.select().from(rls));
export const s = pgSequence('my_seq', {startWith: 5});
