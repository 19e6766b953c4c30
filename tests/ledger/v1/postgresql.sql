CREATE TABLE whatsapp_flows_ledger (
  version SERIAL NOT NULL,
  PRIMARY KEY (version)
);

CREATE TABLE whatsapp_flows_replays (
  no SERIAL NOT NULL,
  id TEXT NOT NULL,
  flow_id TEXT NOT NULL,
  flow TEXT NOT NULL,
  source TEXT NOT NULL,
  source_mark TEXT,
  options TEXT NOT NULL,
  note TEXT,
  created_at FLOAT NOT NULL,
  started_at FLOAT,
  ended_at FLOAT,
  sealed BOOLEAN NOT NULL,
  PRIMARY KEY (no),
  UNIQUE (id)
);

CREATE TABLE whatsapp_flows_contacts (
  id BIGSERIAL NOT NULL,
  replay_no INTEGER NOT NULL,
  chunk INTEGER NOT NULL,
  place TEXT NOT NULL,
  response_id TEXT,
  phone TEXT,
  digest TEXT,
  response TEXT,
  state TEXT NOT NULL,
  reason TEXT,
  round INTEGER NOT NULL,
  path TEXT,
  error TEXT,
  fingerprint TEXT,
  handled_errors INTEGER NOT NULL,
  unanswered BOOLEAN NOT NULL,
  ended_at FLOAT,
  PRIMARY KEY (id)
);

CREATE INDEX whatsapp_flows_contacts_chunk ON whatsapp_flows_contacts (replay_no, chunk, id);

CREATE INDEX whatsapp_flows_contacts_response ON whatsapp_flows_contacts (response_id);

CREATE INDEX whatsapp_flows_contacts_phone ON whatsapp_flows_contacts (phone);

CREATE TABLE whatsapp_flows_attempts (
  id BIGSERIAL NOT NULL,
  response_id TEXT NOT NULL,
  flow_id TEXT NOT NULL,
  step TEXT NOT NULL,
  visit INTEGER NOT NULL,
  key TEXT NOT NULL,
  number INTEGER NOT NULL,
  digest TEXT NOT NULL,
  method TEXT NOT NULL,
  host TEXT NOT NULL,
  phone TEXT,
  replay_no INTEGER,
  round INTEGER NOT NULL,
  origin TEXT,
  moment FLOAT NOT NULL,
  begun_at FLOAT NOT NULL,
  fate TEXT,
  status_code INTEGER,
  error_kind TEXT,
  result TEXT,
  ended_at FLOAT,
  PRIMARY KEY (id),
  CONSTRAINT whatsapp_flows_attempts_key UNIQUE (response_id, flow_id, step, visit, key, number)
);

CREATE INDEX whatsapp_flows_attempts_phone ON whatsapp_flows_attempts (phone) WHERE phone IS NOT NULL;

CREATE TABLE whatsapp_flows_chunks (
  replay_no INTEGER NOT NULL,
  chunk INTEGER NOT NULL,
  size INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  owner TEXT,
  PRIMARY KEY (replay_no, chunk)
);

CREATE TABLE whatsapp_flows_slots (
  host TEXT NOT NULL,
  next_at FLOAT NOT NULL,
  held_until FLOAT NOT NULL,
  PRIMARY KEY (host)
);
