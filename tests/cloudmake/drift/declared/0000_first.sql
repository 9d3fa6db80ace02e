CREATE SCHEMA "billing";
--> statement-breakpoint
CREATE TYPE "public"."MixedCase" AS ENUM('a', 'it''s');--> statement-breakpoint
CREATE TYPE "public"."auth_role" AS ENUM('admin', 'user');--> statement-breakpoint
CREATE SEQUENCE "public"."my_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 5 CACHE 1;--> statement-breakpoint
CREATE TABLE "billing"."invoices" (
	"id" serial PRIMARY KEY NOT NULL,
	"total" numeric(10, 2) DEFAULT '0' NOT NULL
);
--> statement-breakpoint
CREATE TABLE "posts_with_a_very_long_table_name_that_goes_on" (
	"user_identifier_column" uuid NOT NULL,
	"k" bigserial NOT NULL,
	"slug" text,
	"inv" integer,
	CONSTRAINT "posts_pk" PRIMARY KEY("user_identifier_column","k"),
	CONSTRAINT "posts_with_a_very_long_table_name_that_goes_on_slug_unique" UNIQUE("slug")
);
--> statement-breakpoint
CREATE TABLE "rls" (
	"id" integer PRIMARY KEY NOT NULL
);
--> statement-breakpoint
ALTER TABLE "rls" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "users" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"email" varchar(255) NOT NULL,
	"role" "auth_role" DEFAULT 'user' NOT NULL,
	"roles" varchar[] DEFAULT '{viewer}' NOT NULL,
	"tags" text[] DEFAULT '{}' NOT NULL,
	"m" "MixedCase" DEFAULT 'it''s',
	"ms" "MixedCase"[],
	"age" integer DEFAULT -1,
	"big" bigint DEFAULT 0,
	"ok" boolean DEFAULT false NOT NULL,
	"meta" jsonb DEFAULT '{"a":1,"b":{"c":"x"}}'::jsonb,
	"pct" numeric(5, 2),
	"n" numeric,
	"hash" char(64),
	"d" date DEFAULT now(),
	"t" time,
	"iv" interval,
	"ip" "inet",
	"dp" double precision DEFAULT 1.5,
	"r" real,
	"si" smallint,
	"ident" integer GENERATED ALWAYS AS IDENTITY (sequence name "users_ident_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1),
	"gen" text GENERATED ALWAYS AS (lower(email)) STORED,
	"ts" timestamp,
	"tz" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"tu" timestamp DEFAULT CURRENT_TIMESTAMP,
	"tx" timestamp DEFAULT (now() at time zone 'utc'),
	CONSTRAINT "u_email_role" UNIQUE NULLS NOT DISTINCT("email","role"),
	CONSTRAINT "age_check" CHECK ("users"."age" > 0 and "users"."role" in ('admin','user') and "users"."age" between 1 and 5 and "users"."email" like '%@%' and "users"."email" != 'x' and "users"."hash" ~ '^[A-Z]+$')
);
--> statement-breakpoint
ALTER TABLE "users" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "posts_with_a_very_long_table_name_that_goes_on" ADD CONSTRAINT "posts_with_a_very_long_table_name_that_goes_on_user_identifier_column_users_id_fk" FOREIGN KEY ("user_identifier_column") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "posts_with_a_very_long_table_name_that_goes_on" ADD CONSTRAINT "posts_with_a_very_long_table_name_that_goes_on_inv_invoices_id_fk" FOREIGN KEY ("inv") REFERENCES "billing"."invoices"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_a" ON "users" USING btree ("email" DESC NULLS LAST,"role");--> statement-breakpoint
CREATE INDEX "idx_gin" ON "users" USING gin ("meta");--> statement-breakpoint
CREATE INDEX "idx_op" ON "users" USING btree ("email" text_pattern_ops);--> statement-breakpoint
CREATE UNIQUE INDEX "idx_expr" ON "users" USING btree (lower("email")) WHERE "users"."ok" = true and "users"."age" in (1,2);--> statement-breakpoint
CREATE VIEW "public"."v_users" AS (select "id" from "rls");--> statement-breakpoint
CREATE POLICY "p_sel" ON "users" AS PERMISSIVE FOR SELECT TO public USING ("users"."ok" = true);--> statement-breakpoint
CREATE POLICY "p_upd" ON "users" AS RESTRICTIVE FOR UPDATE TO current_user USING (true) WITH CHECK ("users"."age" > 0);