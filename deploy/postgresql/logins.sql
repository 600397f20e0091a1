-- Logins: one for each service and one for each person, who is then the operator that the journal names. An example to
-- copy: a superuser runs it once. Passwords are set afterwards, with psql's `\password NAME`, which sends no clear text
-- into the server's log; who comes with a client certificate needs none.

-- Schedulers, and `run start` beside them: they plan, approve by the programme's policy, release, close and seal.
CREATE ROLE despensa_scheduler LOGIN CONNECTION LIMIT 40 IN ROLE despensa_plan, despensa_work;

-- Workers: they settle lines of released runs. A worker process holds a connection for each of its threads.
CREATE ROLE despensa_worker LOGIN CONNECTION LIMIT 100 IN ROLE despensa_work;

-- Two persons at least: who plans a run does not approve it, and who enrols families sets neither rules nor money. More
-- roles make nobody his own approver: whoever planned a run is refused, whatever else he is.
CREATE ROLE ana LOGIN CONNECTION LIMIT 10 IN ROLE despensa_enrol, despensa_plan;
CREATE ROLE bruno LOGIN CONNECTION LIMIT 10 IN ROLE despensa_approve;

-- Who upgrades: another login than the daily one. What it makes belongs to despensa_owner, whoever it is.
CREATE ROLE ana_upgrades LOGIN CONNECTION LIMIT 5 IN ROLE despensa_owner;
ALTER ROLE ana_upgrades SET role = 'despensa_owner';

-- Who only looks.
CREATE ROLE despensa_report LOGIN CONNECTION LIMIT 10 IN ROLE despensa_read;
ALTER ROLE despensa_report SET default_transaction_read_only = on;

-- Who makes backups: reads everything, families too, and writes nothing.
CREATE ROLE despensa_backup LOGIN CONNECTION LIMIT 5 IN ROLE despensa_read, pg_read_all_data;
ALTER ROLE despensa_backup SET default_transaction_read_only = on;
