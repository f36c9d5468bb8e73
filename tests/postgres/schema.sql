-- What of the catalog's schema the locks and marks lean on, with the indexes of iRODS 5.0.2 (icatSysTables.sql): a collection's
-- name is unique, an AVU on an object is, a triple is not.
create sequence R_OBJECTID start 10000;
create table R_COLL_MAIN (
    coll_id bigint not null, parent_coll_name varchar(2700) not null, coll_name varchar(2700) not null,
    coll_owner_name varchar(250) not null, coll_owner_zone varchar(250) not null, create_ts varchar(32), modify_ts varchar(32));
create unique index idx_coll_main3 on R_COLL_MAIN (coll_name);
create index idx_coll_main1 on R_COLL_MAIN (coll_id);
create unique index idx_coll_main2 on R_COLL_MAIN (parent_coll_name, coll_name);
create table R_DATA_MAIN (data_id bigint not null, coll_id bigint not null, data_name varchar(1000) not null);
create index idx_data_main3 on R_DATA_MAIN (coll_id);
create table R_OBJT_ACCESS (object_id bigint not null, user_id bigint not null, access_type_id bigint not null);
create unique index idx_objt_access1 on R_OBJT_ACCESS (object_id, user_id);
create table R_META_MAIN (
    meta_id bigint not null, meta_attr_name varchar(2700) not null, meta_attr_value varchar(2700) not null,
    meta_attr_unit varchar(250));
create unique index idx_meta_main1 on R_META_MAIN (meta_id);
create index idx_meta_main2 on R_META_MAIN (meta_attr_name);
create index idx_meta_main3 on R_META_MAIN (meta_attr_value);
create table R_OBJT_METAMAP (object_id bigint not null, meta_id bigint not null);
create unique index idx_objt_metamap1 on R_OBJT_METAMAP (object_id, meta_id);
create index idx_objt_metamap3 on R_OBJT_METAMAP (meta_id);
insert into R_COLL_MAIN values (9000, '/tempZone/home/rods', '/tempZone/home/rods/locks', 'rods', 'tempZone', '01600000000', '01600000000');
insert into R_OBJT_ACCESS values (9000, 9001, 1200);
