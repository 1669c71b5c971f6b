-- The tables of an index of documents. TOKENIZE is defined in search.py.
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE document (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, subject TEXT NOT NULL,
  digest BLOB NOT NULL, text TEXT NOT NULL);
CREATE INDEX document_subject ON document (subject);
CREATE TABLE page (document INTEGER NOT NULL, start INTEGER NOT NULL);
CREATE INDEX page_document ON page (document);
CREATE TABLE passage (
  id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, number INTEGER NOT NULL,
  start INTEGER NOT NULL, stop INTEGER NOT NULL);
CREATE INDEX passage_document ON passage (document);
CREATE TABLE span (
  passage INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
  kind TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX span_passage ON span (passage);
CREATE TABLE kind (name TEXT PRIMARY KEY, alternatives REAL NOT NULL);
CREATE TABLE common (term TEXT PRIMARY KEY, rows INTEGER NOT NULL);
CREATE TABLE pending (
  follower TEXT NOT NULL, passage INTEGER NOT NULL, PRIMARY KEY (follower, passage)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (subject, text, tokenize = 'TOKENIZE');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
