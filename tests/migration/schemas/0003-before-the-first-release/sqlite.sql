BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE answer (
	intent_id INTEGER NOT NULL, 
	outcome TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	credit_id TEXT NOT NULL, 
	answered_at TEXT NOT NULL, 
	CONSTRAINT pk_answer PRIMARY KEY (intent_id), 
	CONSTRAINT ck_answer_outcome CHECK (outcome IN ('credited', 'rejected', 'later', 'absent', 'unknown')), 
	CONSTRAINT fk_answer_intent_id FOREIGN KEY(intent_id) REFERENCES intent (id)
)
 STRICT

;
INSERT INTO "answer" VALUES(1,'unknown','connection broke','','2026-11-26T23:36:07.600845Z');
INSERT INTO "answer" VALUES(2,'credited','','sim-2','2026-11-26T23:36:07.600845Z');
INSERT INTO "answer" VALUES(3,'credited','','sim-3','2026-11-26T23:36:07.600845Z');
INSERT INTO "answer" VALUES(4,'unknown','connection broke','','2026-11-26T23:36:07.631505Z');
CREATE TABLE batch (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id INTEGER NOT NULL, 
	first_id INTEGER NOT NULL, 
	last_id INTEGER NOT NULL, 
	lines INTEGER NOT NULL, 
	amount_minor INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	fund_id INTEGER, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	token TEXT, 
	lease_until TEXT, 
	stamped_at TEXT, 
	next_attempt_at TEXT, 
	given_back_at TEXT, 
	last_error TEXT NOT NULL, 
	ended_at TEXT, 
	credited INTEGER, 
	credited_minor INTEGER, 
	credited_at TEXT, 
	CONSTRAINT ck_batch_done CHECK ((state = 'done') = (credited_at IS NOT NULL)), 
	CONSTRAINT ck_batch_state CHECK (state IN ('planned', 'open', 'paused', 'done', 'split', 'stopped')), 
	CONSTRAINT ck_batch_range CHECK (first_id <= last_id), 
	CONSTRAINT fk_batch_fund_id FOREIGN KEY(fund_id) REFERENCES fund (id), 
	CONSTRAINT fk_batch_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 STRICT

;
INSERT INTO "batch" VALUES(1,1,10000001,10000006,6,510000,'401cffe3dc50cda0fab71c0a2062c23aa203af5531e62fcdd594432e77a6caa4',1,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:06.519037Z',NULL,'',NULL,6,510000,'2026-11-26T23:36:06.598169Z');
INSERT INTO "batch" VALUES(2,1,10000007,10000012,6,600000,'e439ee1d266f990b028706f273a6a8aae347f1cb0ecd60cf6e81bfce9bf10306',1,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:06.519037Z',NULL,'',NULL,6,600000,'2026-11-26T23:36:06.628573Z');
INSERT INTO "batch" VALUES(3,1,10000013,10000018,6,690000,'851cf488dc794750561c281b6df15ef96cbd696f90104fac147416b33ff812d3',1,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:06.519037Z',NULL,'',NULL,6,690000,'2026-11-26T23:36:06.655295Z');
INSERT INTO "batch" VALUES(4,2,20000001,20000003,3,210000,'1a6126f67afcaf8cea253bf3134fcf107c47384d1338fbe382ca2267449e8a6c',1,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:06.919271Z',NULL,'',NULL,3,210000,'2026-11-26T23:36:06.977522Z');
INSERT INTO "batch" VALUES(5,2,20000004,20000006,3,300000,'2d470be8a3c3d4a4c8ba119188c2667db26dd2aae7b13afa21274678d19f896d',1,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:06.919271Z',NULL,'',NULL,3,300000,'2026-11-26T23:36:06.994074Z');
INSERT INTO "batch" VALUES(6,2,20000007,20000009,3,390000,'14e841524f9c31a7ab10139ce7cf696fc547026d0dbdc71f5840aa7182ec5184',1,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:06.919271Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(7,2,20000010,20000012,3,210000,'b55f2d6f5cff97f1d5da0e4504d9db493615149ff313b91b6ae7cecd15c25f26',1,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:06.919271Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(8,2,20000013,20000015,3,300000,'e802629656538367e203fd9b37370a98582a519d062db2ce8918d62d80db09a9',1,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:06.919271Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(9,2,20000016,20000018,3,390000,'57734aacb19f0a27e3ff1e77cde37969a4fe1204a333b1364c56236ef2904172',1,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:06.919271Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(10,3,30000001,30000001,1,60000,'3f1e2375c27350f360086da3b037c32c9319830977de33c2f345d4cbee69b4b0',1,'stopped',2,NULL,NULL,'2026-11-26T23:35:07.147104Z','2026-11-26T23:35:07.147104Z',NULL,'','2026-11-26T23:36:07.166363Z',NULL,NULL,NULL);
INSERT INTO "batch" VALUES(11,3,30000002,30000002,1,70000,'a5eb6e38e60040ee1c065844f1261df131ca554fe7ae150f88c2617e6094778e',1,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:07.051485Z',NULL,'',NULL,1,70000,'2026-11-26T23:36:07.244385Z');
INSERT INTO "batch" VALUES(12,3,30000003,30000003,1,80000,'bb594cf424fead42dc2a432c7b2b06043abdf9cd7c85c95c8dac1ca26f0f9291',1,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:07.051485Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(13,3,30000004,30000004,1,90000,'2f8dd3078fc6931ec93a0517d1708d52b6369e606eb32289ab2a6a3ee0465505',1,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:07.051485Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(14,3,30000005,30000005,1,100000,'33ea55d636b814fd6db4efab2fdd1adcf7e8083ed0ec5a39e9f6a1deab4c7da2',1,'open',1,'c54874167792b7093518227e12f67389','2026-11-26T23:36:22.262964Z',NULL,'2026-11-26T23:36:07.051485Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(15,4,40000001,40000007,7,630000,'c0a0843d790d457f135b47ace0b11b4a62f66fbb817c65235f7bb79c4b9c8d4d',NULL,'planned',0,NULL,NULL,NULL,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(16,5,50000001,50000003,3,210000,'c8a1a78b89f94f2981effad498e5e6d5b23b0dbb9b3b978d420156bfe77e8621',2,'done',1,NULL,NULL,NULL,'2026-11-26T23:36:07.453261Z',NULL,'',NULL,2,150000,'2026-11-26T23:36:07.668998Z');
INSERT INTO "batch" VALUES(17,5,50000004,50000006,3,300000,'e4fe5b15ca857b124c61612b101a68dc6f9f1d4bab2f12ebcd2f7a2812a038ff',2,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:07.453261Z',NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "batch" VALUES(18,5,50000007,50000009,3,390000,'7c919290c5350f7273fb9cb53e31e6ea84454269ba3c0c0aa58e2599d7d3a5c5',2,'open',0,NULL,NULL,NULL,'2026-11-26T23:36:07.453261Z',NULL,'',NULL,NULL,NULL,NULL);
CREATE TABLE cases (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	disbursement_id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	fund_id INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	state TEXT NOT NULL, 
	reserved INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_attempt_at TEXT, 
	last_error TEXT NOT NULL, 
	opened_at TEXT NOT NULL, 
	closed_at TEXT, 
	outcome TEXT, 
	closed_by TEXT, 
	evidence TEXT NOT NULL, 
	CONSTRAINT ck_cases_outcome CHECK ((state = 'open') = (outcome IS NULL)), 
	CONSTRAINT ck_cases_how CHECK (outcome IS NULL OR outcome IN ('retried', 'paid', 'not_owed')), 
	CONSTRAINT ck_cases_reason CHECK (reason IN ('unknown', 'rejected', 'dead', 'stopped')), 
	CONSTRAINT ck_cases_state CHECK (state IN ('open', 'closed')), 
	CONSTRAINT fk_cases_disbursement_id FOREIGN KEY(disbursement_id) REFERENCES disbursement (id), 
	CONSTRAINT fk_cases_fund_id FOREIGN KEY(fund_id) REFERENCES fund (id), 
	CONSTRAINT fk_cases_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 STRICT

;
INSERT INTO "cases" VALUES(1,30000001,3,1,'dead','open',1,2,NULL,'','2026-11-26T23:36:07.166363Z',NULL,NULL,NULL,'');
INSERT INTO "cases" VALUES(2,50000001,5,2,'unknown','open',1,1,'2026-11-26T23:36:12.668998Z','connection broke','2026-11-26T23:36:07.668998Z',NULL,NULL,NULL,'');
CREATE TABLE disbursement (
	id INTEGER NOT NULL, 
	programme_id INTEGER NOT NULL, 
	household_id INTEGER NOT NULL, 
	cycle TEXT NOT NULL, 
	amount_minor INTEGER NOT NULL, 
	CONSTRAINT pk_disbursement PRIMARY KEY (id), 
	CONSTRAINT ck_disbursement_amount_minor CHECK (amount_minor BETWEEN 1 AND 10000000000000), 
	CONSTRAINT fk_disbursement_household_id FOREIGN KEY(household_id) REFERENCES household (id), 
	CONSTRAINT uq_disbursement_programme_id_household_id_cycle UNIQUE (programme_id, household_id, cycle)
)
 STRICT

;
INSERT INTO "disbursement" VALUES(10000001,1,1,'2026-11',60000);
INSERT INTO "disbursement" VALUES(10000002,1,2,'2026-11',70000);
INSERT INTO "disbursement" VALUES(10000003,1,3,'2026-11',80000);
INSERT INTO "disbursement" VALUES(10000004,1,4,'2026-11',90000);
INSERT INTO "disbursement" VALUES(10000005,1,5,'2026-11',100000);
INSERT INTO "disbursement" VALUES(10000006,1,6,'2026-11',110000);
INSERT INTO "disbursement" VALUES(10000007,1,7,'2026-11',120000);
INSERT INTO "disbursement" VALUES(10000008,1,8,'2026-11',130000);
INSERT INTO "disbursement" VALUES(10000009,1,9,'2026-11',140000);
INSERT INTO "disbursement" VALUES(10000010,1,10,'2026-11',60000);
INSERT INTO "disbursement" VALUES(10000011,1,11,'2026-11',70000);
INSERT INTO "disbursement" VALUES(10000012,1,12,'2026-11',80000);
INSERT INTO "disbursement" VALUES(10000013,1,13,'2026-11',90000);
INSERT INTO "disbursement" VALUES(10000014,1,14,'2026-11',100000);
INSERT INTO "disbursement" VALUES(10000015,1,15,'2026-11',110000);
INSERT INTO "disbursement" VALUES(10000016,1,16,'2026-11',120000);
INSERT INTO "disbursement" VALUES(10000017,1,17,'2026-11',130000);
INSERT INTO "disbursement" VALUES(10000018,1,18,'2026-11',140000);
INSERT INTO "disbursement" VALUES(20000001,1,1,'2026-12',60000);
INSERT INTO "disbursement" VALUES(20000002,1,2,'2026-12',70000);
INSERT INTO "disbursement" VALUES(20000003,1,3,'2026-12',80000);
INSERT INTO "disbursement" VALUES(20000004,1,4,'2026-12',90000);
INSERT INTO "disbursement" VALUES(20000005,1,5,'2026-12',100000);
INSERT INTO "disbursement" VALUES(20000006,1,6,'2026-12',110000);
INSERT INTO "disbursement" VALUES(20000007,1,7,'2026-12',120000);
INSERT INTO "disbursement" VALUES(20000008,1,8,'2026-12',130000);
INSERT INTO "disbursement" VALUES(20000009,1,9,'2026-12',140000);
INSERT INTO "disbursement" VALUES(20000010,1,10,'2026-12',60000);
INSERT INTO "disbursement" VALUES(20000011,1,11,'2026-12',70000);
INSERT INTO "disbursement" VALUES(20000012,1,12,'2026-12',80000);
INSERT INTO "disbursement" VALUES(20000013,1,13,'2026-12',90000);
INSERT INTO "disbursement" VALUES(20000014,1,14,'2026-12',100000);
INSERT INTO "disbursement" VALUES(20000015,1,15,'2026-12',110000);
INSERT INTO "disbursement" VALUES(20000016,1,16,'2026-12',120000);
INSERT INTO "disbursement" VALUES(20000017,1,17,'2026-12',130000);
INSERT INTO "disbursement" VALUES(20000018,1,18,'2026-12',140000);
INSERT INTO "disbursement" VALUES(30000001,1,19,'2026-12',60000);
INSERT INTO "disbursement" VALUES(30000002,1,20,'2026-12',70000);
INSERT INTO "disbursement" VALUES(30000003,1,21,'2026-12',80000);
INSERT INTO "disbursement" VALUES(30000004,1,22,'2026-12',90000);
INSERT INTO "disbursement" VALUES(30000005,1,23,'2026-12',100000);
INSERT INTO "disbursement" VALUES(40000001,1,24,'2026-12',60000);
INSERT INTO "disbursement" VALUES(40000002,1,25,'2026-12',70000);
INSERT INTO "disbursement" VALUES(40000003,1,26,'2026-12',80000);
INSERT INTO "disbursement" VALUES(40000004,1,27,'2026-12',90000);
INSERT INTO "disbursement" VALUES(40000005,1,28,'2026-12',100000);
INSERT INTO "disbursement" VALUES(40000006,1,29,'2026-12',110000);
INSERT INTO "disbursement" VALUES(40000007,1,30,'2026-12',120000);
INSERT INTO "disbursement" VALUES(50000001,2,31,'2026-12',60000);
INSERT INTO "disbursement" VALUES(50000002,2,32,'2026-12',70000);
INSERT INTO "disbursement" VALUES(50000003,2,33,'2026-12',80000);
INSERT INTO "disbursement" VALUES(50000004,2,34,'2026-12',90000);
INSERT INTO "disbursement" VALUES(50000005,2,35,'2026-12',100000);
INSERT INTO "disbursement" VALUES(50000006,2,36,'2026-12',110000);
INSERT INTO "disbursement" VALUES(50000007,2,37,'2026-12',120000);
INSERT INTO "disbursement" VALUES(50000008,2,38,'2026-12',130000);
INSERT INTO "disbursement" VALUES(50000009,2,39,'2026-12',140000);
CREATE TABLE enrolment (
	programme_id INTEGER NOT NULL, 
	household_id INTEGER NOT NULL, 
	first_cycle TEXT NOT NULL, 
	last_cycle TEXT NOT NULL, 
	status TEXT NOT NULL, 
	reason_code TEXT NOT NULL, 
	CONSTRAINT pk_enrolment PRIMARY KEY (programme_id, household_id), 
	CONSTRAINT ck_enrolment_first_cycle CHECK (first_cycle >= '2000-01' AND first_cycle < '2200-01' AND length(first_cycle) = 7), 
	CONSTRAINT ck_enrolment_last_cycle CHECK (last_cycle >= '2000-01' AND last_cycle < '2200-01' AND length(last_cycle) = 7), 
	CONSTRAINT ck_enrolment_status CHECK (status IN ('active', 'held', 'stopped')), 
	CONSTRAINT ck_enrolment_window CHECK (first_cycle <= last_cycle), 
	CONSTRAINT fk_enrolment_household_id FOREIGN KEY(household_id) REFERENCES household (id), 
	CONSTRAINT fk_enrolment_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id)
)
 STRICT

;
INSERT INTO "enrolment" VALUES(1,1,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,2,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,3,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,4,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,5,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,6,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,7,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,8,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,9,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,10,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,11,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,12,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,13,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,14,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,15,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,16,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,17,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,18,'2026-11','2027-01','active','');
INSERT INTO "enrolment" VALUES(1,19,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,20,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,21,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,22,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,23,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,24,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,25,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,26,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,27,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,28,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,29,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(1,30,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,31,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,32,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,33,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,34,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,35,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,36,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,37,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,38,'2026-12','2027-02','active','');
INSERT INTO "enrolment" VALUES(2,39,'2026-12','2027-02','active','');
CREATE TABLE exchange_rate (
	programme_id INTEGER NOT NULL, 
	cycle TEXT NOT NULL, 
	from_currency TEXT NOT NULL, 
	to_currency TEXT NOT NULL, 
	rate_millionths INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	rate_date TEXT NOT NULL, 
	CONSTRAINT pk_exchange_rate PRIMARY KEY (programme_id, cycle), 
	CONSTRAINT ck_exchange_rate_cycle CHECK (cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7), 
	CONSTRAINT ck_exchange_rate_rate_millionths CHECK (rate_millionths > 0), 
	CONSTRAINT fk_exchange_rate_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id)
)
 STRICT

;
CREATE TABLE expected_slot (
	programme_id INTEGER NOT NULL, 
	location_code TEXT NOT NULL, 
	cycle TEXT NOT NULL, 
	CONSTRAINT pk_expected_slot PRIMARY KEY (programme_id, location_code, cycle), 
	CONSTRAINT ck_expected_slot_cycle CHECK (cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7), 
	CONSTRAINT fk_expected_slot_location_code FOREIGN KEY(location_code) REFERENCES location (code), 
	CONSTRAINT fk_expected_slot_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id)
)
 STRICT

;
CREATE TABLE fund (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	programme_id INTEGER NOT NULL, 
	code TEXT NOT NULL, 
	donor TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	balance_minor INTEGER NOT NULL, 
	CONSTRAINT ck_fund_balance_minor CHECK (balance_minor BETWEEN 0 AND 10000000000000), 
	CONSTRAINT fk_fund_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id), 
	CONSTRAINT uq_fund_programme_id_code UNIQUE (programme_id, code), 
	CONSTRAINT uq_fund_programme_id_position UNIQUE (programme_id, position)
)
 STRICT

;
INSERT INTO "fund" VALUES(1,1,'fund-1','Donor 1','MXN',1,999996000000);
INSERT INTO "fund" VALUES(2,2,'fund-1','Donor 1','MXN',1,999999100000);
CREATE TABLE household (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	registration_id TEXT NOT NULL, 
	location_code TEXT NOT NULL, 
	members INTEGER NOT NULL, 
	group_code TEXT NOT NULL, 
	CONSTRAINT ck_household_members CHECK (members BETWEEN 1 AND 40), 
	CONSTRAINT fk_household_location_code FOREIGN KEY(location_code) REFERENCES location (code), 
	CONSTRAINT uq_household_registration_id UNIQUE (registration_id)
)
 STRICT

;
INSERT INTO "household" VALUES(1,'R-02004-0000000','02004',1,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(2,'R-02004-0000001','02004',2,'single_caregiver');
INSERT INTO "household" VALUES(3,'R-02004-0000002','02004',3,'pregnant');
INSERT INTO "household" VALUES(4,'R-02004-0000003','02004',4,'disability');
INSERT INTO "household" VALUES(5,'R-02004-0000004','02004',5,'victim_of_crime');
INSERT INTO "household" VALUES(6,'R-02004-0000005','02004',6,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(7,'R-02004-0000006','02004',7,'single_caregiver');
INSERT INTO "household" VALUES(8,'R-02004-0000007','02004',8,'pregnant');
INSERT INTO "household" VALUES(9,'R-02004-0000008','02004',9,'disability');
INSERT INTO "household" VALUES(10,'R-02004-0000009','02004',1,'victim_of_crime');
INSERT INTO "household" VALUES(11,'R-02004-0000010','02004',2,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(12,'R-02004-0000011','02004',3,'single_caregiver');
INSERT INTO "household" VALUES(13,'R-02004-0000012','02004',4,'pregnant');
INSERT INTO "household" VALUES(14,'R-02004-0000013','02004',5,'disability');
INSERT INTO "household" VALUES(15,'R-02004-0000014','02004',6,'victim_of_crime');
INSERT INTO "household" VALUES(16,'R-02004-0000015','02004',7,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(17,'R-02004-0000016','02004',8,'single_caregiver');
INSERT INTO "household" VALUES(18,'R-02004-0000017','02004',9,'pregnant');
INSERT INTO "household" VALUES(19,'R-26043-0000000','26043',1,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(20,'R-26043-0000001','26043',2,'single_caregiver');
INSERT INTO "household" VALUES(21,'R-26043-0000002','26043',3,'pregnant');
INSERT INTO "household" VALUES(22,'R-26043-0000003','26043',4,'disability');
INSERT INTO "household" VALUES(23,'R-26043-0000004','26043',5,'victim_of_crime');
INSERT INTO "household" VALUES(24,'R-08037-0000000','08037',1,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(25,'R-08037-0000001','08037',2,'single_caregiver');
INSERT INTO "household" VALUES(26,'R-08037-0000002','08037',3,'pregnant');
INSERT INTO "household" VALUES(27,'R-08037-0000003','08037',4,'disability');
INSERT INTO "household" VALUES(28,'R-08037-0000004','08037',5,'victim_of_crime');
INSERT INTO "household" VALUES(29,'R-08037-0000005','08037',6,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(30,'R-08037-0000006','08037',7,'single_caregiver');
INSERT INTO "household" VALUES(31,'S-02004-0000000','02004',1,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(32,'S-02004-0000001','02004',2,'single_caregiver');
INSERT INTO "household" VALUES(33,'S-02004-0000002','02004',3,'pregnant');
INSERT INTO "household" VALUES(34,'S-02004-0000003','02004',4,'disability');
INSERT INTO "household" VALUES(35,'S-02004-0000004','02004',5,'victim_of_crime');
INSERT INTO "household" VALUES(36,'S-02004-0000005','02004',6,'mpp_asylum_seeker');
INSERT INTO "household" VALUES(37,'S-02004-0000006','02004',7,'single_caregiver');
INSERT INTO "household" VALUES(38,'S-02004-0000007','02004',8,'pregnant');
INSERT INTO "household" VALUES(39,'S-02004-0000008','02004',9,'disability');
CREATE TABLE intent (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	disbursement_id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	reference TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	CONSTRAINT ck_intent_kind CHECK (kind IN ('send', 'ask')), 
	CONSTRAINT fk_intent_batch_id FOREIGN KEY(batch_id) REFERENCES batch (id), 
	CONSTRAINT fk_intent_disbursement_id FOREIGN KEY(disbursement_id) REFERENCES disbursement (id)
)
 STRICT

;
INSERT INTO "intent" VALUES(1,50000001,16,'send','70b28568b48575e9605624540eb49fa9644d99c51b3f603e8614baa5daef16ea','2026-11-26T23:36:07.564319Z');
INSERT INTO "intent" VALUES(2,50000002,16,'send','cfefd69e392f49745b99a09d72cadf8c8529c59387de59a642083431dfc6ff2f','2026-11-26T23:36:07.564319Z');
INSERT INTO "intent" VALUES(3,50000003,16,'send','680cfe688c9962cccbd9c648ef238f43caf5c336ce477685f42d84dfe04abbed','2026-11-26T23:36:07.564319Z');
INSERT INTO "intent" VALUES(4,50000001,16,'ask','70b28568b48575e9605624540eb49fa9644d99c51b3f603e8614baa5daef16ea','2026-11-26T23:36:07.616128Z');
CREATE TABLE issuer (
	programme_id INTEGER NOT NULL, 
	url TEXT NOT NULL, 
	calls_max INTEGER NOT NULL, 
	key_window_hours INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	breaker_until TEXT, 
	CONSTRAINT pk_issuer PRIMARY KEY (programme_id), 
	CONSTRAINT ck_issuer_calls_max CHECK (calls_max BETWEEN 1 AND 1024), 
	CONSTRAINT ck_issuer_key_window_hours CHECK (key_window_hours BETWEEN 1 AND 8784), 
	CONSTRAINT fk_issuer_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id)
)
 STRICT

;
INSERT INTO "issuer" VALUES(2,'http://127.0.0.1:9',64,168,0,NULL);
CREATE TABLE journal (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	event TEXT NOT NULL, 
	level TEXT NOT NULL, 
	run_id INTEGER, 
	recorded_at TEXT NOT NULL, 
	fields TEXT NOT NULL
)
 STRICT

;
INSERT INTO "journal" VALUES(1,'run.planned','info',1,'2026-11-26T23:36:06.498467Z','{"batches":3,"currency":"MXN","cycle":"2026-11","digest":"7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add","held_elsewhere":0,"late":true,"location":"02004","location_name":"Tijuana","opens_at":"2026-11-01T17:00:00.000000Z","operator":"root","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"time_zone":"America/Tijuana"}');
INSERT INTO "journal" VALUES(2,'run.approved','info',1,'2026-11-26T23:36:06.519037Z','{"approval":"policy","currency":"MXN","cycle":"2026-11","digest":"7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add","location":"02004","operator":"policy","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}');
INSERT INTO "journal" VALUES(3,'run.released','info',1,'2026-11-26T23:36:06.519037Z','{"batches":3,"currency":"MXN","cycle":"2026-11","location":"02004","operator":"root","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}');
INSERT INTO "journal" VALUES(4,'batch.credited','info',1,'2026-11-26T23:36:06.598169Z','{"attempt":1,"batch_id":1,"credited":6,"credited_minor":510000,"currency":"MXN","cycle":"2026-11","first_id":10000001,"last_id":10000006,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}');
INSERT INTO "journal" VALUES(5,'batch.credited','info',1,'2026-11-26T23:36:06.628573Z','{"attempt":1,"batch_id":2,"credited":6,"credited_minor":600000,"currency":"MXN","cycle":"2026-11","first_id":10000007,"last_id":10000012,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}');
INSERT INTO "journal" VALUES(6,'batch.credited','info',1,'2026-11-26T23:36:06.655295Z','{"attempt":1,"batch_id":3,"credited":6,"credited_minor":690000,"currency":"MXN","cycle":"2026-11","first_id":10000013,"last_id":10000018,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}');
INSERT INTO "journal" VALUES(7,'notice.created','info',1,'2026-11-26T23:36:06.677053Z','{"amount_minor":1800000,"currency":"MXN","cycle":"2026-11","location":"02004","notice_id":1,"number":1,"part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"store":"nor-02004-1","vouchers":18}');
INSERT INTO "journal" VALUES(8,'run.completed','info',1,'2026-11-26T23:36:06.677053Z','{"cases":0,"credited":18,"credited_minor":1800000,"currency":"MXN","cycle":"2026-11","late":true,"location":"02004","not_owed":0,"notices":1,"part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"state":"completed"}');
INSERT INTO "journal" VALUES(9,'notice.delivered','info',1,'2026-11-26T23:36:06.789654Z','{"attempts":1,"cycle":"2026-11","location":"02004","notice_id":1,"number":1,"part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"store":"nor-02004-1"}');
INSERT INTO "journal" VALUES(10,'run.planned','info',2,'2026-11-26T23:36:06.903345Z','{"batches":6,"currency":"MXN","cycle":"2026-12","digest":"9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029","held_elsewhere":0,"late":true,"location":"02004","location_name":"Tijuana","opens_at":"2026-12-01T17:00:00.000000Z","operator":"root","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-12/02004","run_id":2,"time_zone":"America/Tijuana"}');
INSERT INTO "journal" VALUES(11,'run.approved','info',2,'2026-11-26T23:36:06.919271Z','{"approval":"policy","currency":"MXN","cycle":"2026-12","digest":"9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029","location":"02004","operator":"policy","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}');
INSERT INTO "journal" VALUES(12,'run.released','info',2,'2026-11-26T23:36:06.919271Z','{"batches":6,"currency":"MXN","cycle":"2026-12","location":"02004","operator":"root","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}');
INSERT INTO "journal" VALUES(13,'batch.credited','info',2,'2026-11-26T23:36:06.977522Z','{"attempt":1,"batch_id":4,"credited":3,"credited_minor":210000,"currency":"MXN","cycle":"2026-12","first_id":20000001,"last_id":20000003,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}');
INSERT INTO "journal" VALUES(14,'batch.credited','info',2,'2026-11-26T23:36:06.994074Z','{"attempt":1,"batch_id":5,"credited":3,"credited_minor":300000,"currency":"MXN","cycle":"2026-12","first_id":20000004,"last_id":20000006,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}');
INSERT INTO "journal" VALUES(15,'run.planned','info',3,'2026-11-26T23:36:07.023234Z','{"batches":5,"currency":"MXN","cycle":"2026-12","digest":"2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f","held_elsewhere":0,"late":true,"location":"26043","location_name":"Nogales","opens_at":"2026-12-01T16:00:00.000000Z","operator":"root","part":1,"planned":5,"planned_minor":400000,"programme":"northern-mexico","run":"2026-12/26043","run_id":3,"time_zone":"America/Hermosillo"}');
INSERT INTO "journal" VALUES(16,'run.approved','info',3,'2026-11-26T23:36:07.051485Z','{"approval":"policy","currency":"MXN","cycle":"2026-12","digest":"2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f","location":"26043","operator":"policy","part":1,"planned":5,"planned_minor":400000,"programme":"northern-mexico","run":"2026-12/26043","run_id":3}');
INSERT INTO "journal" VALUES(17,'run.released','info',3,'2026-11-26T23:36:07.051485Z','{"batches":5,"currency":"MXN","cycle":"2026-12","location":"26043","operator":"root","part":1,"planned":5,"planned_minor":400000,"programme":"northern-mexico","run":"2026-12/26043","run_id":3}');
INSERT INTO "journal" VALUES(18,'case.opened','warning',3,'2026-11-26T23:36:07.166363Z','{"amount_minor":60000,"attempts":2,"case_id":1,"currency":"MXN","cycle":"2026-12","disbursement_id":30000001,"error":"","location":"26043","next_attempt_at":"","part":1,"programme":"northern-mexico","reason":"dead","run":"2026-12/26043","run_id":3}');
INSERT INTO "journal" VALUES(19,'batch.credited','info',3,'2026-11-26T23:36:07.244385Z','{"attempt":1,"batch_id":11,"credited":1,"credited_minor":70000,"currency":"MXN","cycle":"2026-12","first_id":30000002,"last_id":30000002,"location":"26043","part":1,"programme":"northern-mexico","run":"2026-12/26043","run_id":3}');
INSERT INTO "journal" VALUES(20,'run.planned','info',4,'2026-11-26T23:36:07.303809Z','{"batches":1,"currency":"MXN","cycle":"2026-12","digest":"b638c8642350e32c7338eff65f34b77959d0101dfa027020d7a56eba19c5d70d","held_elsewhere":0,"late":true,"location":"08037","location_name":"Juárez","opens_at":"2026-12-01T16:00:00.000000Z","operator":"root","part":1,"planned":7,"planned_minor":630000,"programme":"northern-mexico","run":"2026-12/08037","run_id":4,"time_zone":"America/Ciudad_Juarez"}');
INSERT INTO "journal" VALUES(21,'run.planned','info',5,'2026-11-26T23:36:07.433567Z','{"batches":3,"currency":"MXN","cycle":"2026-12","digest":"4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436","held_elsewhere":0,"late":true,"location":"02004","location_name":"Tijuana","opens_at":"2026-12-01T17:00:00.000000Z","operator":"root","part":1,"planned":9,"planned_minor":900000,"programme":"outside","run":"2026-12/02004","run_id":5,"time_zone":"America/Tijuana"}');
INSERT INTO "journal" VALUES(22,'run.approved','info',5,'2026-11-26T23:36:07.453261Z','{"approval":"policy","currency":"MXN","cycle":"2026-12","digest":"4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436","location":"02004","operator":"policy","part":1,"planned":9,"planned_minor":900000,"programme":"outside","run":"2026-12/02004","run_id":5}');
INSERT INTO "journal" VALUES(23,'run.released','info',5,'2026-11-26T23:36:07.453261Z','{"batches":3,"currency":"MXN","cycle":"2026-12","location":"02004","operator":"root","part":1,"planned":9,"planned_minor":900000,"programme":"outside","run":"2026-12/02004","run_id":5}');
INSERT INTO "journal" VALUES(24,'case.opened','warning',5,'2026-11-26T23:36:07.668998Z','{"amount_minor":60000,"attempts":1,"case_id":2,"currency":"MXN","cycle":"2026-12","disbursement_id":50000001,"error":"connection broke","location":"02004","next_attempt_at":"2026-11-26T23:36:12.668998Z","part":1,"programme":"outside","reason":"unknown","run":"2026-12/02004","run_id":5}');
INSERT INTO "journal" VALUES(25,'batch.credited','info',5,'2026-11-26T23:36:07.668998Z','{"attempt":1,"batch_id":16,"credited":2,"credited_minor":150000,"currency":"MXN","cycle":"2026-12","first_id":50000001,"last_id":50000003,"location":"02004","part":1,"programme":"outside","run":"2026-12/02004","run_id":5}');
CREATE TABLE journal_head (
	id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	hash TEXT NOT NULL, 
	emitted_seq INTEGER NOT NULL, 
	CONSTRAINT pk_journal_head PRIMARY KEY (id), 
	CONSTRAINT ck_journal_head_single CHECK (id = 1)
)
 STRICT

;
INSERT INTO "journal_head" VALUES(1,9,'12d7023ff210500d1183db4220fb8891f253aa0ac943847e57ced96c69109db0',9);
CREATE TABLE location (
	code TEXT NOT NULL, 
	name TEXT NOT NULL, 
	state TEXT NOT NULL, 
	time_zone TEXT NOT NULL, 
	CONSTRAINT pk_location PRIMARY KEY (code), 
	CONSTRAINT ck_location_code CHECK (length(code) = 5)
)
 STRICT

;
INSERT INTO "location" VALUES('02004','Tijuana','-','America/Tijuana');
INSERT INTO "location" VALUES('26043','Nogales','-','America/Hermosillo');
INSERT INTO "location" VALUES('08037','Juárez','-','America/Ciudad_Juarez');
CREATE TABLE notice (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id INTEGER NOT NULL, 
	store_id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	webhook_id TEXT NOT NULL, 
	vouchers INTEGER NOT NULL, 
	amount_minor INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	token TEXT, 
	lease_until TEXT, 
	stamped_at TEXT, 
	made_at TEXT NOT NULL, 
	next_attempt_at TEXT NOT NULL, 
	tried_at TEXT, 
	delivered_at TEXT, 
	last_error TEXT NOT NULL, 
	CONSTRAINT ck_notice_state CHECK (state IN ('due', 'delivered', 'undelivered')), 
	CONSTRAINT fk_notice_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT fk_notice_store_id FOREIGN KEY(store_id) REFERENCES store (id), 
	CONSTRAINT uq_notice_run_id_store_id_number UNIQUE (run_id, store_id, number), 
	CONSTRAINT uq_notice_webhook_id UNIQUE (webhook_id)
)
 STRICT

;
INSERT INTO "notice" VALUES(1,1,'nor-02004-1',1,'msg_e580771e5bcc457fac6dc45bc9292608',18,1800000,'delivered',1,NULL,NULL,NULL,'2026-11-26T23:36:06.677053Z','2026-11-26T23:36:16.789654Z','2026-11-26T23:36:06.789654Z','2026-11-26T23:36:06.789654Z','');
CREATE TABLE programme (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	code TEXT NOT NULL, 
	name TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	value_currency TEXT NOT NULL, 
	base_minor INTEGER NOT NULL, 
	per_member_minor INTEGER NOT NULL, 
	cap_minor INTEGER NOT NULL, 
	round_to_minor INTEGER NOT NULL, 
	cycles INTEGER NOT NULL, 
	validity_days INTEGER NOT NULL, 
	payday_day INTEGER NOT NULL, 
	payday_time TEXT NOT NULL, 
	approval TEXT NOT NULL, 
	policy_run_max_minor INTEGER NOT NULL, 
	permitted_goods TEXT NOT NULL, 
	excluded_goods TEXT NOT NULL, 
	CONSTRAINT ck_programme_approval CHECK (approval IN ('person', 'policy')), 
	CONSTRAINT ck_programme_base_minor CHECK (base_minor BETWEEN 0 AND 10000000000000), 
	CONSTRAINT ck_programme_cap_minor CHECK (cap_minor BETWEEN 1 AND 10000000000000), 
	CONSTRAINT ck_programme_cycles CHECK (cycles BETWEEN 1 AND 120), 
	CONSTRAINT ck_programme_payday_day CHECK (payday_day BETWEEN 1 AND 28), 
	CONSTRAINT ck_programme_per_member_minor CHECK (per_member_minor BETWEEN 0 AND 10000000000000), 
	CONSTRAINT ck_programme_policy_run_max_minor CHECK (policy_run_max_minor BETWEEN 0 AND 10000000000000), 
	CONSTRAINT ck_programme_round_to_minor CHECK (round_to_minor BETWEEN 1 AND 1000000), 
	CONSTRAINT ck_programme_validity_days CHECK (validity_days BETWEEN 1 AND 3660), 
	CONSTRAINT uq_programme_code UNIQUE (code)
)
 STRICT

;
INSERT INTO "programme" VALUES(1,'northern-mexico','northern-mexico','MXN','MXN',50000,10000,150000,100,3,60,1,'09:00','policy',1000000000000,'["food"]','["alcohol"]');
INSERT INTO "programme" VALUES(2,'outside','outside','MXN','MXN',50000,10000,150000,100,3,60,1,'09:00','policy',1000000000000,'["food"]','["alcohol"]');
CREATE TABLE programme_location (
	programme_id INTEGER NOT NULL, 
	location_code TEXT NOT NULL, 
	first_cycle TEXT NOT NULL, 
	CONSTRAINT pk_programme_location PRIMARY KEY (programme_id, location_code), 
	CONSTRAINT ck_programme_location_first_cycle CHECK (first_cycle >= '2000-01' AND first_cycle < '2200-01' AND length(first_cycle) = 7), 
	CONSTRAINT fk_programme_location_location_code FOREIGN KEY(location_code) REFERENCES location (code), 
	CONSTRAINT fk_programme_location_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id)
)
 STRICT

;
INSERT INTO "programme_location" VALUES(1,'02004','2026-10');
INSERT INTO "programme_location" VALUES(1,'26043','2026-10');
INSERT INTO "programme_location" VALUES(1,'08037','2026-10');
INSERT INTO "programme_location" VALUES(2,'02004','2026-10');
CREATE TABLE run (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	programme_id INTEGER NOT NULL, 
	location_code TEXT NOT NULL, 
	cycle TEXT NOT NULL, 
	part INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	late INTEGER NOT NULL, 
	opens_at TEXT NOT NULL, 
	lines INTEGER NOT NULL, 
	planned_minor INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	value_currency TEXT NOT NULL, 
	rate_millionths INTEGER, 
	rate_source TEXT NOT NULL, 
	rate_date TEXT NOT NULL, 
	round_to_minor INTEGER NOT NULL, 
	validity_days INTEGER NOT NULL, 
	batch_lines_max INTEGER NOT NULL, 
	planned_by TEXT NOT NULL, 
	planned_at TEXT NOT NULL, 
	approval TEXT, 
	approved_by TEXT, 
	approved_at TEXT, 
	approved_digest TEXT, 
	released_at TEXT, 
	completed_at TEXT, 
	blocked TEXT NOT NULL, 
	CONSTRAINT ck_run_four_eyes CHECK (approved_by IS NULL OR approved_by <> planned_by OR approval = 'policy'), 
	CONSTRAINT ck_run_cycle CHECK (cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7), 
	CONSTRAINT ck_run_state CHECK (state IN ('planned', 'approved', 'released', 'paused', 'completed', 'completed_with_cases', 'cancelled')), 
	CONSTRAINT ck_run_part CHECK (part >= 1), 
	CONSTRAINT ck_run_planned_minor CHECK (planned_minor BETWEEN 0 AND 10000000000000), 
	CONSTRAINT fk_run_location_code FOREIGN KEY(location_code) REFERENCES location (code), 
	CONSTRAINT fk_run_programme_id FOREIGN KEY(programme_id) REFERENCES programme (id), 
	CONSTRAINT uq_run_programme_id_location_code_cycle_part UNIQUE (programme_id, location_code, cycle, part)
)
 STRICT

;
INSERT INTO "run" VALUES(1,1,'02004','2026-11',1,'completed',1,'2026-11-01T17:00:00.000000Z',18,1800000,'7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add','MXN','MXN',NULL,'','',100,60,6,'root','2026-12-01T20:00:00.000000Z','policy','policy','2026-11-26T23:36:06.519037Z','7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add','2026-11-26T23:36:06.519037Z','2026-11-26T23:36:06.677053Z','');
INSERT INTO "run" VALUES(2,1,'02004','2026-12',1,'released',1,'2026-12-01T17:00:00.000000Z',18,1800000,'9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029','MXN','MXN',NULL,'','',100,60,3,'root','2026-12-01T20:00:00.000000Z','policy','policy','2026-11-26T23:36:06.919271Z','9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029','2026-11-26T23:36:06.919271Z',NULL,'');
INSERT INTO "run" VALUES(3,1,'26043','2026-12',1,'released',1,'2026-12-01T16:00:00.000000Z',5,400000,'2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f','MXN','MXN',NULL,'','',100,60,1,'root','2026-12-01T20:00:00.000000Z','policy','policy','2026-11-26T23:36:07.051485Z','2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f','2026-11-26T23:36:07.051485Z',NULL,'');
INSERT INTO "run" VALUES(4,1,'08037','2026-12',1,'planned',1,'2026-12-01T16:00:00.000000Z',7,630000,'b638c8642350e32c7338eff65f34b77959d0101dfa027020d7a56eba19c5d70d','MXN','MXN',NULL,'','',100,60,10,'root','2026-12-01T20:00:00.000000Z',NULL,NULL,NULL,NULL,NULL,NULL,'');
INSERT INTO "run" VALUES(5,2,'02004','2026-12',1,'released',1,'2026-12-01T17:00:00.000000Z',9,900000,'4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436','MXN','MXN',NULL,'','',100,60,3,'root','2026-12-01T20:00:00.000000Z','policy','policy','2026-11-26T23:36:07.453261Z','4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436','2026-11-26T23:36:07.453261Z',NULL,'');
CREATE TABLE run_amount (
	run_id INTEGER NOT NULL, 
	members INTEGER NOT NULL, 
	amount_minor INTEGER NOT NULL, 
	CONSTRAINT pk_run_amount PRIMARY KEY (run_id, members), 
	CONSTRAINT ck_run_amount_amount_minor CHECK (amount_minor BETWEEN 1 AND 10000000000000), 
	CONSTRAINT fk_run_amount_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 STRICT

;
INSERT INTO "run_amount" VALUES(1,1,60000);
INSERT INTO "run_amount" VALUES(1,2,70000);
INSERT INTO "run_amount" VALUES(1,3,80000);
INSERT INTO "run_amount" VALUES(1,4,90000);
INSERT INTO "run_amount" VALUES(1,5,100000);
INSERT INTO "run_amount" VALUES(1,6,110000);
INSERT INTO "run_amount" VALUES(1,7,120000);
INSERT INTO "run_amount" VALUES(1,8,130000);
INSERT INTO "run_amount" VALUES(1,9,140000);
INSERT INTO "run_amount" VALUES(1,10,150000);
INSERT INTO "run_amount" VALUES(1,11,150000);
INSERT INTO "run_amount" VALUES(1,12,150000);
INSERT INTO "run_amount" VALUES(1,13,150000);
INSERT INTO "run_amount" VALUES(1,14,150000);
INSERT INTO "run_amount" VALUES(1,15,150000);
INSERT INTO "run_amount" VALUES(1,16,150000);
INSERT INTO "run_amount" VALUES(1,17,150000);
INSERT INTO "run_amount" VALUES(1,18,150000);
INSERT INTO "run_amount" VALUES(1,19,150000);
INSERT INTO "run_amount" VALUES(1,20,150000);
INSERT INTO "run_amount" VALUES(1,21,150000);
INSERT INTO "run_amount" VALUES(1,22,150000);
INSERT INTO "run_amount" VALUES(1,23,150000);
INSERT INTO "run_amount" VALUES(1,24,150000);
INSERT INTO "run_amount" VALUES(1,25,150000);
INSERT INTO "run_amount" VALUES(1,26,150000);
INSERT INTO "run_amount" VALUES(1,27,150000);
INSERT INTO "run_amount" VALUES(1,28,150000);
INSERT INTO "run_amount" VALUES(1,29,150000);
INSERT INTO "run_amount" VALUES(1,30,150000);
INSERT INTO "run_amount" VALUES(1,31,150000);
INSERT INTO "run_amount" VALUES(1,32,150000);
INSERT INTO "run_amount" VALUES(1,33,150000);
INSERT INTO "run_amount" VALUES(1,34,150000);
INSERT INTO "run_amount" VALUES(1,35,150000);
INSERT INTO "run_amount" VALUES(1,36,150000);
INSERT INTO "run_amount" VALUES(1,37,150000);
INSERT INTO "run_amount" VALUES(1,38,150000);
INSERT INTO "run_amount" VALUES(1,39,150000);
INSERT INTO "run_amount" VALUES(1,40,150000);
INSERT INTO "run_amount" VALUES(2,1,60000);
INSERT INTO "run_amount" VALUES(2,2,70000);
INSERT INTO "run_amount" VALUES(2,3,80000);
INSERT INTO "run_amount" VALUES(2,4,90000);
INSERT INTO "run_amount" VALUES(2,5,100000);
INSERT INTO "run_amount" VALUES(2,6,110000);
INSERT INTO "run_amount" VALUES(2,7,120000);
INSERT INTO "run_amount" VALUES(2,8,130000);
INSERT INTO "run_amount" VALUES(2,9,140000);
INSERT INTO "run_amount" VALUES(2,10,150000);
INSERT INTO "run_amount" VALUES(2,11,150000);
INSERT INTO "run_amount" VALUES(2,12,150000);
INSERT INTO "run_amount" VALUES(2,13,150000);
INSERT INTO "run_amount" VALUES(2,14,150000);
INSERT INTO "run_amount" VALUES(2,15,150000);
INSERT INTO "run_amount" VALUES(2,16,150000);
INSERT INTO "run_amount" VALUES(2,17,150000);
INSERT INTO "run_amount" VALUES(2,18,150000);
INSERT INTO "run_amount" VALUES(2,19,150000);
INSERT INTO "run_amount" VALUES(2,20,150000);
INSERT INTO "run_amount" VALUES(2,21,150000);
INSERT INTO "run_amount" VALUES(2,22,150000);
INSERT INTO "run_amount" VALUES(2,23,150000);
INSERT INTO "run_amount" VALUES(2,24,150000);
INSERT INTO "run_amount" VALUES(2,25,150000);
INSERT INTO "run_amount" VALUES(2,26,150000);
INSERT INTO "run_amount" VALUES(2,27,150000);
INSERT INTO "run_amount" VALUES(2,28,150000);
INSERT INTO "run_amount" VALUES(2,29,150000);
INSERT INTO "run_amount" VALUES(2,30,150000);
INSERT INTO "run_amount" VALUES(2,31,150000);
INSERT INTO "run_amount" VALUES(2,32,150000);
INSERT INTO "run_amount" VALUES(2,33,150000);
INSERT INTO "run_amount" VALUES(2,34,150000);
INSERT INTO "run_amount" VALUES(2,35,150000);
INSERT INTO "run_amount" VALUES(2,36,150000);
INSERT INTO "run_amount" VALUES(2,37,150000);
INSERT INTO "run_amount" VALUES(2,38,150000);
INSERT INTO "run_amount" VALUES(2,39,150000);
INSERT INTO "run_amount" VALUES(2,40,150000);
INSERT INTO "run_amount" VALUES(3,1,60000);
INSERT INTO "run_amount" VALUES(3,2,70000);
INSERT INTO "run_amount" VALUES(3,3,80000);
INSERT INTO "run_amount" VALUES(3,4,90000);
INSERT INTO "run_amount" VALUES(3,5,100000);
INSERT INTO "run_amount" VALUES(3,6,110000);
INSERT INTO "run_amount" VALUES(3,7,120000);
INSERT INTO "run_amount" VALUES(3,8,130000);
INSERT INTO "run_amount" VALUES(3,9,140000);
INSERT INTO "run_amount" VALUES(3,10,150000);
INSERT INTO "run_amount" VALUES(3,11,150000);
INSERT INTO "run_amount" VALUES(3,12,150000);
INSERT INTO "run_amount" VALUES(3,13,150000);
INSERT INTO "run_amount" VALUES(3,14,150000);
INSERT INTO "run_amount" VALUES(3,15,150000);
INSERT INTO "run_amount" VALUES(3,16,150000);
INSERT INTO "run_amount" VALUES(3,17,150000);
INSERT INTO "run_amount" VALUES(3,18,150000);
INSERT INTO "run_amount" VALUES(3,19,150000);
INSERT INTO "run_amount" VALUES(3,20,150000);
INSERT INTO "run_amount" VALUES(3,21,150000);
INSERT INTO "run_amount" VALUES(3,22,150000);
INSERT INTO "run_amount" VALUES(3,23,150000);
INSERT INTO "run_amount" VALUES(3,24,150000);
INSERT INTO "run_amount" VALUES(3,25,150000);
INSERT INTO "run_amount" VALUES(3,26,150000);
INSERT INTO "run_amount" VALUES(3,27,150000);
INSERT INTO "run_amount" VALUES(3,28,150000);
INSERT INTO "run_amount" VALUES(3,29,150000);
INSERT INTO "run_amount" VALUES(3,30,150000);
INSERT INTO "run_amount" VALUES(3,31,150000);
INSERT INTO "run_amount" VALUES(3,32,150000);
INSERT INTO "run_amount" VALUES(3,33,150000);
INSERT INTO "run_amount" VALUES(3,34,150000);
INSERT INTO "run_amount" VALUES(3,35,150000);
INSERT INTO "run_amount" VALUES(3,36,150000);
INSERT INTO "run_amount" VALUES(3,37,150000);
INSERT INTO "run_amount" VALUES(3,38,150000);
INSERT INTO "run_amount" VALUES(3,39,150000);
INSERT INTO "run_amount" VALUES(3,40,150000);
INSERT INTO "run_amount" VALUES(4,1,60000);
INSERT INTO "run_amount" VALUES(4,2,70000);
INSERT INTO "run_amount" VALUES(4,3,80000);
INSERT INTO "run_amount" VALUES(4,4,90000);
INSERT INTO "run_amount" VALUES(4,5,100000);
INSERT INTO "run_amount" VALUES(4,6,110000);
INSERT INTO "run_amount" VALUES(4,7,120000);
INSERT INTO "run_amount" VALUES(4,8,130000);
INSERT INTO "run_amount" VALUES(4,9,140000);
INSERT INTO "run_amount" VALUES(4,10,150000);
INSERT INTO "run_amount" VALUES(4,11,150000);
INSERT INTO "run_amount" VALUES(4,12,150000);
INSERT INTO "run_amount" VALUES(4,13,150000);
INSERT INTO "run_amount" VALUES(4,14,150000);
INSERT INTO "run_amount" VALUES(4,15,150000);
INSERT INTO "run_amount" VALUES(4,16,150000);
INSERT INTO "run_amount" VALUES(4,17,150000);
INSERT INTO "run_amount" VALUES(4,18,150000);
INSERT INTO "run_amount" VALUES(4,19,150000);
INSERT INTO "run_amount" VALUES(4,20,150000);
INSERT INTO "run_amount" VALUES(4,21,150000);
INSERT INTO "run_amount" VALUES(4,22,150000);
INSERT INTO "run_amount" VALUES(4,23,150000);
INSERT INTO "run_amount" VALUES(4,24,150000);
INSERT INTO "run_amount" VALUES(4,25,150000);
INSERT INTO "run_amount" VALUES(4,26,150000);
INSERT INTO "run_amount" VALUES(4,27,150000);
INSERT INTO "run_amount" VALUES(4,28,150000);
INSERT INTO "run_amount" VALUES(4,29,150000);
INSERT INTO "run_amount" VALUES(4,30,150000);
INSERT INTO "run_amount" VALUES(4,31,150000);
INSERT INTO "run_amount" VALUES(4,32,150000);
INSERT INTO "run_amount" VALUES(4,33,150000);
INSERT INTO "run_amount" VALUES(4,34,150000);
INSERT INTO "run_amount" VALUES(4,35,150000);
INSERT INTO "run_amount" VALUES(4,36,150000);
INSERT INTO "run_amount" VALUES(4,37,150000);
INSERT INTO "run_amount" VALUES(4,38,150000);
INSERT INTO "run_amount" VALUES(4,39,150000);
INSERT INTO "run_amount" VALUES(4,40,150000);
INSERT INTO "run_amount" VALUES(5,1,60000);
INSERT INTO "run_amount" VALUES(5,2,70000);
INSERT INTO "run_amount" VALUES(5,3,80000);
INSERT INTO "run_amount" VALUES(5,4,90000);
INSERT INTO "run_amount" VALUES(5,5,100000);
INSERT INTO "run_amount" VALUES(5,6,110000);
INSERT INTO "run_amount" VALUES(5,7,120000);
INSERT INTO "run_amount" VALUES(5,8,130000);
INSERT INTO "run_amount" VALUES(5,9,140000);
INSERT INTO "run_amount" VALUES(5,10,150000);
INSERT INTO "run_amount" VALUES(5,11,150000);
INSERT INTO "run_amount" VALUES(5,12,150000);
INSERT INTO "run_amount" VALUES(5,13,150000);
INSERT INTO "run_amount" VALUES(5,14,150000);
INSERT INTO "run_amount" VALUES(5,15,150000);
INSERT INTO "run_amount" VALUES(5,16,150000);
INSERT INTO "run_amount" VALUES(5,17,150000);
INSERT INTO "run_amount" VALUES(5,18,150000);
INSERT INTO "run_amount" VALUES(5,19,150000);
INSERT INTO "run_amount" VALUES(5,20,150000);
INSERT INTO "run_amount" VALUES(5,21,150000);
INSERT INTO "run_amount" VALUES(5,22,150000);
INSERT INTO "run_amount" VALUES(5,23,150000);
INSERT INTO "run_amount" VALUES(5,24,150000);
INSERT INTO "run_amount" VALUES(5,25,150000);
INSERT INTO "run_amount" VALUES(5,26,150000);
INSERT INTO "run_amount" VALUES(5,27,150000);
INSERT INTO "run_amount" VALUES(5,28,150000);
INSERT INTO "run_amount" VALUES(5,29,150000);
INSERT INTO "run_amount" VALUES(5,30,150000);
INSERT INTO "run_amount" VALUES(5,31,150000);
INSERT INTO "run_amount" VALUES(5,32,150000);
INSERT INTO "run_amount" VALUES(5,33,150000);
INSERT INTO "run_amount" VALUES(5,34,150000);
INSERT INTO "run_amount" VALUES(5,35,150000);
INSERT INTO "run_amount" VALUES(5,36,150000);
INSERT INTO "run_amount" VALUES(5,37,150000);
INSERT INTO "run_amount" VALUES(5,38,150000);
INSERT INTO "run_amount" VALUES(5,39,150000);
INSERT INTO "run_amount" VALUES(5,40,150000);
CREATE TABLE run_group (
	run_id INTEGER NOT NULL, 
	group_code TEXT NOT NULL, 
	families INTEGER NOT NULL, 
	amount_minor INTEGER NOT NULL, 
	CONSTRAINT pk_run_group PRIMARY KEY (run_id, group_code), 
	CONSTRAINT fk_run_group_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 STRICT

;
INSERT INTO "run_group" VALUES(1,'disability',3,330000);
INSERT INTO "run_group" VALUES(1,'mpp_asylum_seeker',4,360000);
INSERT INTO "run_group" VALUES(1,'pregnant',4,440000);
INSERT INTO "run_group" VALUES(1,'single_caregiver',4,400000);
INSERT INTO "run_group" VALUES(1,'victim_of_crime',3,270000);
INSERT INTO "run_group" VALUES(2,'disability',3,330000);
INSERT INTO "run_group" VALUES(2,'mpp_asylum_seeker',4,360000);
INSERT INTO "run_group" VALUES(2,'pregnant',4,440000);
INSERT INTO "run_group" VALUES(2,'single_caregiver',4,400000);
INSERT INTO "run_group" VALUES(2,'victim_of_crime',3,270000);
INSERT INTO "run_group" VALUES(3,'disability',1,90000);
INSERT INTO "run_group" VALUES(3,'mpp_asylum_seeker',1,60000);
INSERT INTO "run_group" VALUES(3,'pregnant',1,80000);
INSERT INTO "run_group" VALUES(3,'single_caregiver',1,70000);
INSERT INTO "run_group" VALUES(3,'victim_of_crime',1,100000);
INSERT INTO "run_group" VALUES(4,'disability',1,90000);
INSERT INTO "run_group" VALUES(4,'mpp_asylum_seeker',2,170000);
INSERT INTO "run_group" VALUES(4,'pregnant',1,80000);
INSERT INTO "run_group" VALUES(4,'single_caregiver',2,190000);
INSERT INTO "run_group" VALUES(4,'victim_of_crime',1,100000);
INSERT INTO "run_group" VALUES(5,'disability',2,230000);
INSERT INTO "run_group" VALUES(5,'mpp_asylum_seeker',2,170000);
INSERT INTO "run_group" VALUES(5,'pregnant',2,210000);
INSERT INTO "run_group" VALUES(5,'single_caregiver',2,190000);
INSERT INTO "run_group" VALUES(5,'victim_of_crime',1,100000);
CREATE TABLE seal (
	seq INTEGER NOT NULL, 
	journal_id INTEGER NOT NULL, 
	prev_hash TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	CONSTRAINT pk_seal PRIMARY KEY (seq), 
	CONSTRAINT fk_seal_journal_id FOREIGN KEY(journal_id) REFERENCES journal (id), 
	CONSTRAINT uq_seal_journal_id UNIQUE (journal_id), 
	CONSTRAINT uq_seal_prev_hash UNIQUE (prev_hash)
)
 STRICT

;
INSERT INTO "seal" VALUES(1,1,'0000000000000000000000000000000000000000000000000000000000000000','f9cc4abf270b02d3365557a5134181d5388606db59a36a314a471723e33eee05');
INSERT INTO "seal" VALUES(2,2,'f9cc4abf270b02d3365557a5134181d5388606db59a36a314a471723e33eee05','7907c4541eead93c7523d9d02f1d265cac02f094a2fff41889b235d1a1b579cd');
INSERT INTO "seal" VALUES(3,3,'7907c4541eead93c7523d9d02f1d265cac02f094a2fff41889b235d1a1b579cd','89d53119ccd8651d463a89e8db567030be3e39fbfe6fc563e746e268e9baa86e');
INSERT INTO "seal" VALUES(4,4,'89d53119ccd8651d463a89e8db567030be3e39fbfe6fc563e746e268e9baa86e','16a506ee719962f448250fe0d79150d2e0bcd8740d054cd5a132a4e9ce7fde1a');
INSERT INTO "seal" VALUES(5,5,'16a506ee719962f448250fe0d79150d2e0bcd8740d054cd5a132a4e9ce7fde1a','9a6ded5a689141c6f1bacc58706819703962aac3ca053b99e3b19ed8f63bb2ff');
INSERT INTO "seal" VALUES(6,6,'9a6ded5a689141c6f1bacc58706819703962aac3ca053b99e3b19ed8f63bb2ff','5518e1f26fbd5fcdfb97c81639cfaca3686cdfd1f9e97562ffd5e03dd837cfb6');
INSERT INTO "seal" VALUES(7,7,'5518e1f26fbd5fcdfb97c81639cfaca3686cdfd1f9e97562ffd5e03dd837cfb6','7a73f29c08e59280bb23e54876459ae84a54aca9bf05c48ec96ae28d547c1d53');
INSERT INTO "seal" VALUES(8,8,'7a73f29c08e59280bb23e54876459ae84a54aca9bf05c48ec96ae28d547c1d53','a03ea9b6a6edd1627a591a10e7afd0e538f768b3dfea0abec3f80a051b38cf2a');
INSERT INTO "seal" VALUES(9,9,'a03ea9b6a6edd1627a591a10e7afd0e538f768b3dfea0abec3f80a051b38cf2a','12d7023ff210500d1183db4220fb8891f253aa0ac943847e57ced96c69109db0');
CREATE TABLE sighting (
	role TEXT NOT NULL, 
	instance TEXT NOT NULL, 
	seen_at TEXT NOT NULL, 
	CONSTRAINT pk_sighting PRIMARY KEY (role, instance), 
	CONSTRAINT ck_sighting_role CHECK (role IN ('scheduler', 'worker'))
)
 STRICT

;
INSERT INTO "sighting" VALUES('scheduler','host-1:7','2026-11-26T23:36:07.717141Z');
INSERT INTO "sighting" VALUES('worker','host-2:7','2026-11-26T23:36:07.717141Z');
CREATE TABLE store (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	location_code TEXT NOT NULL, 
	url TEXT NOT NULL, 
	active INTEGER NOT NULL, 
	secret_version INTEGER NOT NULL, 
	previous_secret_until TEXT, 
	failures INTEGER NOT NULL, 
	breaker_until TEXT, 
	CONSTRAINT pk_store PRIMARY KEY (id), 
	CONSTRAINT ck_store_secret_version CHECK (secret_version >= 1), 
	CONSTRAINT fk_store_location_code FOREIGN KEY(location_code) REFERENCES location (code)
)
 STRICT

;
INSERT INTO "store" VALUES('nor-02004-1','nor-02004-1','02004','http://127.0.0.1:9/nor-02004-1',1,1,NULL,0,NULL);
INSERT INTO "store" VALUES('nor-26043-1','nor-26043-1','26043','http://127.0.0.1:9/nor-26043-1',1,1,NULL,0,NULL);
INSERT INTO "store" VALUES('nor-08037-1','nor-08037-1','08037','http://127.0.0.1:9/nor-08037-1',1,1,NULL,0,NULL);
INSERT INTO "store" VALUES('out-02004-1','out-02004-1','02004','http://127.0.0.1:9/out-02004-1',1,1,NULL,0,NULL);
CREATE TABLE transfer (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind TEXT NOT NULL, 
	fund_id INTEGER NOT NULL, 
	run_id INTEGER, 
	batch_id INTEGER, 
	case_id INTEGER, 
	amount_minor INTEGER NOT NULL, 
	currency TEXT NOT NULL, 
	transferred_at TEXT NOT NULL, 
	CONSTRAINT ck_transfer_run_id CHECK ((kind = 'deposit') = (run_id IS NULL)), 
	CONSTRAINT ck_transfer_kind CHECK (kind IN ('deposit', 'reserve', 'credit', 'unreserve')), 
	CONSTRAINT ck_transfer_amount_minor CHECK (amount_minor BETWEEN 1 AND 10000000000000), 
	CONSTRAINT fk_transfer_batch_id FOREIGN KEY(batch_id) REFERENCES batch (id), 
	CONSTRAINT fk_transfer_case_id FOREIGN KEY(case_id) REFERENCES cases (id), 
	CONSTRAINT fk_transfer_fund_id FOREIGN KEY(fund_id) REFERENCES fund (id), 
	CONSTRAINT fk_transfer_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 STRICT

;
INSERT INTO "transfer" VALUES(1,'deposit',1,NULL,NULL,NULL,1000000000000,'MXN','2026-11-26T23:36:06.322553Z');
INSERT INTO "transfer" VALUES(2,'reserve',1,1,NULL,NULL,1800000,'MXN','2026-11-26T23:36:06.519037Z');
INSERT INTO "transfer" VALUES(3,'credit',1,1,1,NULL,510000,'MXN','2026-11-26T23:36:06.598169Z');
INSERT INTO "transfer" VALUES(4,'credit',1,1,2,NULL,600000,'MXN','2026-11-26T23:36:06.628573Z');
INSERT INTO "transfer" VALUES(5,'credit',1,1,3,NULL,690000,'MXN','2026-11-26T23:36:06.655295Z');
INSERT INTO "transfer" VALUES(6,'reserve',1,2,NULL,NULL,1800000,'MXN','2026-11-26T23:36:06.919271Z');
INSERT INTO "transfer" VALUES(7,'credit',1,2,4,NULL,210000,'MXN','2026-11-26T23:36:06.977522Z');
INSERT INTO "transfer" VALUES(8,'credit',1,2,5,NULL,300000,'MXN','2026-11-26T23:36:06.994074Z');
INSERT INTO "transfer" VALUES(9,'reserve',1,3,NULL,NULL,400000,'MXN','2026-11-26T23:36:07.051485Z');
INSERT INTO "transfer" VALUES(10,'credit',1,3,11,NULL,70000,'MXN','2026-11-26T23:36:07.244385Z');
INSERT INTO "transfer" VALUES(11,'deposit',2,NULL,NULL,NULL,1000000000000,'MXN','2026-11-26T23:36:07.345939Z');
INSERT INTO "transfer" VALUES(12,'reserve',2,5,NULL,NULL,900000,'MXN','2026-11-26T23:36:07.453261Z');
INSERT INTO "transfer" VALUES(13,'credit',2,5,16,NULL,150000,'MXN','2026-11-26T23:36:07.668998Z');
CREATE TABLE voucher (
	id INTEGER NOT NULL, 
	batch_id INTEGER, 
	key_version INTEGER NOT NULL, 
	CONSTRAINT pk_voucher PRIMARY KEY (id), 
	CONSTRAINT fk_voucher_id FOREIGN KEY(id) REFERENCES disbursement (id)
)
 STRICT

;
INSERT INTO "voucher" VALUES(10000001,1,1);
INSERT INTO "voucher" VALUES(10000002,1,1);
INSERT INTO "voucher" VALUES(10000003,1,1);
INSERT INTO "voucher" VALUES(10000004,1,1);
INSERT INTO "voucher" VALUES(10000005,1,1);
INSERT INTO "voucher" VALUES(10000006,1,1);
INSERT INTO "voucher" VALUES(10000007,2,1);
INSERT INTO "voucher" VALUES(10000008,2,1);
INSERT INTO "voucher" VALUES(10000009,2,1);
INSERT INTO "voucher" VALUES(10000010,2,1);
INSERT INTO "voucher" VALUES(10000011,2,1);
INSERT INTO "voucher" VALUES(10000012,2,1);
INSERT INTO "voucher" VALUES(10000013,3,1);
INSERT INTO "voucher" VALUES(10000014,3,1);
INSERT INTO "voucher" VALUES(10000015,3,1);
INSERT INTO "voucher" VALUES(10000016,3,1);
INSERT INTO "voucher" VALUES(10000017,3,1);
INSERT INTO "voucher" VALUES(10000018,3,1);
INSERT INTO "voucher" VALUES(20000001,4,1);
INSERT INTO "voucher" VALUES(20000002,4,1);
INSERT INTO "voucher" VALUES(20000003,4,1);
INSERT INTO "voucher" VALUES(20000004,5,1);
INSERT INTO "voucher" VALUES(20000005,5,1);
INSERT INTO "voucher" VALUES(20000006,5,1);
INSERT INTO "voucher" VALUES(30000002,11,1);
INSERT INTO "voucher" VALUES(50000002,16,1);
INSERT INTO "voucher" VALUES(50000003,16,1);
CREATE INDEX ix_journal_run_id ON journal (run_id);
CREATE INDEX ix_household_location_code ON household (location_code);
CREATE INDEX ix_run_state ON run (state);
CREATE INDEX ix_store_location_code ON store (location_code);
CREATE INDEX ix_batch_open ON batch (run_id, id) WHERE state = 'open';
CREATE INDEX ix_batch_run_id ON batch (run_id, first_id);
CREATE INDEX ix_notice_due ON notice (id) WHERE state = 'due';
CREATE INDEX ix_notice_store_id ON notice (store_id);
CREATE INDEX ix_cases_disbursement_id ON cases (disbursement_id);
CREATE INDEX ix_cases_run_id ON cases (run_id, state);
CREATE UNIQUE INDEX uq_cases_open ON cases (disbursement_id) WHERE state = 'open';
CREATE INDEX ix_transfer_fund_id ON transfer (fund_id);
CREATE INDEX ix_transfer_run_id ON transfer (run_id);
CREATE UNIQUE INDEX uq_transfer_credit_batch_id ON transfer (batch_id) WHERE kind = 'credit' AND batch_id IS NOT NULL;
CREATE VIEW entry AS
SELECT id AS transfer_id, fund_id, run_id, -amount_minor AS amount_minor,
       CASE kind WHEN 'deposit' THEN 'donor' WHEN 'reserve' THEN 'fund' ELSE 'reserve' END AS account
FROM transfer
UNION ALL
SELECT id, fund_id, run_id, amount_minor,
       CASE kind WHEN 'deposit' THEN 'fund' WHEN 'reserve' THEN 'reserve' WHEN 'credit' THEN 'outstanding'
                 ELSE 'fund' END
FROM transfer;
CREATE TRIGGER voucher_refuses_update BEFORE UPDATE ON voucher BEGIN SELECT RAISE(ABORT, 'voucher rows are never changed'); END;
CREATE TRIGGER voucher_refuses_delete BEFORE DELETE ON voucher BEGIN SELECT RAISE(ABORT, 'voucher rows are never changed'); END;
CREATE TRIGGER transfer_refuses_update BEFORE UPDATE ON transfer BEGIN SELECT RAISE(ABORT, 'transfer rows are never changed'); END;
CREATE TRIGGER transfer_refuses_delete BEFORE DELETE ON transfer BEGIN SELECT RAISE(ABORT, 'transfer rows are never changed'); END;
CREATE TRIGGER journal_refuses_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'journal rows are never changed'); END;
CREATE TRIGGER journal_refuses_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'journal rows are never changed'); END;
CREATE TRIGGER seal_refuses_update BEFORE UPDATE ON seal BEGIN SELECT RAISE(ABORT, 'seal rows are never changed'); END;
CREATE TRIGGER seal_refuses_delete BEFORE DELETE ON seal BEGIN SELECT RAISE(ABORT, 'seal rows are never changed'); END;
CREATE TRIGGER disbursement_refuses_update BEFORE UPDATE ON disbursement BEGIN SELECT RAISE(ABORT, 'lines are never changed'); END;
CREATE TRIGGER disbursement_refuses_delete BEFORE DELETE ON disbursement WHEN (SELECT state FROM run WHERE id = OLD.id / 10000000) NOT IN ('planned', 'approved') BEGIN SELECT RAISE(ABORT, 'lines of a released run are never deleted'); END;
CREATE INDEX ix_intent_disbursement_id ON intent (disbursement_id);
CREATE TRIGGER intent_refuses_update BEFORE UPDATE ON intent BEGIN SELECT RAISE(ABORT, 'intent rows are never changed'); END;
CREATE TRIGGER intent_refuses_delete BEFORE DELETE ON intent BEGIN SELECT RAISE(ABORT, 'intent rows are never changed'); END;
CREATE TRIGGER answer_refuses_update BEFORE UPDATE ON answer BEGIN SELECT RAISE(ABORT, 'answer rows are never changed'); END;
CREATE TRIGGER answer_refuses_delete BEFORE DELETE ON answer BEGIN SELECT RAISE(ABORT, 'answer rows are never changed'); END;
CREATE TRIGGER voucher_requires_release BEFORE INSERT ON voucher WHEN (SELECT state FROM run WHERE id = NEW.id / 10000000) IN ('planned', 'approved') BEGIN SELECT RAISE(ABORT, 'a voucher of a run that is not released'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('programme',2);
INSERT INTO "sqlite_sequence" VALUES('fund',2);
INSERT INTO "sqlite_sequence" VALUES('transfer',13);
INSERT INTO "sqlite_sequence" VALUES('household',39);
INSERT INTO "sqlite_sequence" VALUES('run',5);
INSERT INTO "sqlite_sequence" VALUES('batch',18);
INSERT INTO "sqlite_sequence" VALUES('journal',25);
INSERT INTO "sqlite_sequence" VALUES('notice',1);
INSERT INTO "sqlite_sequence" VALUES('cases',2);
INSERT INTO "sqlite_sequence" VALUES('intent',4);
COMMIT;
