create table config (key text primary key, value text);
create table experimenter (
  id integer primary key autoincrement, ome_name text unique not null,
  first_name text not null, last_name text not null,
  password text, active integer not null default 1, ldap integer not null default 0);
create table privilege (experimenter integer not null, name text not null, unique (experimenter, name));
create table experimenter_group (
  id integer primary key autoincrement, name text unique not null, description text,
  permissions text not null default 'rw----', ldap integer not null default 0);
create table group_experimenter_map (
  id integer primary key autoincrement, parent integer not null, child integer not null,
  owner integer not null default 0, unique (parent, child));
create table session (
  id integer primary key autoincrement, uuid text unique not null, owner integer not null, sudoer integer,
  grp integer not null, time_to_idle integer not null, time_to_live integer not null,
  started integer not null, used integer not null, closed integer);
create table event (
  id integer primary key autoincrement, time integer not null,
  experimenter integer not null, experimenter_group integer not null);
create table event_log (
  id integer primary key autoincrement, action text not null, entity_type text not null, entity_id integer not null,
  event integer not null);
create table fileset (id integer primary key autoincrement, template_prefix text not null,
  uploaded integer not null default 0, session text,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table original_file (id integer primary key autoincrement, name text not null, path text not null,
  repo text, size integer, hash text, hasher text, mimetype text,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table fileset_entry (id integer primary key autoincrement, fileset integer not null,
  original_file integer, client_path text not null, position integer not null default 0,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create index fileset_entry_client_path on fileset_entry (client_path);
create index fileset_entry_fileset on fileset_entry (fileset);
create table image (id integer primary key autoincrement, name text not null, description text, series integer,
  acquisition_date integer, archived integer default 0, fileset integer,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create index image_fileset on image (fileset);
create table pixels (id integer primary key autoincrement, image integer not null,
  size_x integer not null default 1, size_y integer not null default 1,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table dataset (id integer primary key autoincrement, name text not null, description text,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table project (id integer primary key autoincrement, name text not null, description text,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table screen (id integer primary key autoincrement, name text not null, description text,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table plate (id integer primary key autoincrement, name text not null, description text,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table well (id integer primary key autoincrement, plate integer not null, well_column integer, well_row integer,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table well_sample (id integer primary key autoincrement, well integer not null, image integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create table annotation (id integer primary key autoincrement, discriminator text not null, ns text, name text,
  description text, text_value text, long_value integer, file integer,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer);
create index annotation_ns on annotation (ns);
create table annotation_map_value (id integer primary key autoincrement, annotation integer not null,
  position integer not null, name text, value text);
create index annotation_map_value_annotation on annotation_map_value (annotation);
create table dataset_image_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table project_dataset_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table screen_plate_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table image_annotation_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table fileset_annotation_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table plate_annotation_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table dataset_annotation_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table project_annotation_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
create table screen_annotation_link (id integer primary key autoincrement, parent integer not null, child integer not null,
  owner_id integer not null, group_id integer not null, creation_event integer, update_event integer, unique (parent, child, owner_id));
