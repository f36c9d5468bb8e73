// SPDX-License-Identifier: BSD-3-Clause

#include "catalog.hpp"

#include "json.hpp"
#include "support.hpp"

#include <map>
#include <utility>

namespace zone
{
    namespace
    {
        // Table and column names are those of the iRODS catalog, so that GenQuery2 can be turned into SQL
        // over them the way the server does it.
        const char* const schema = R"sql(
            create table R_OBJECTID (next integer not null);
            create table R_ZONE_MAIN (zone_id integer, zone_name text, zone_type_name text, zone_conn_string text,
                r_comment text default '', create_ts text, modify_ts text);
            create table R_USER_MAIN (user_id integer primary key, user_name text, user_type_name text, zone_name text,
                user_info text default '', r_comment text default '', create_ts text, modify_ts text,
                unique (user_name, zone_name));
            create table R_USER_GROUP (group_user_id integer, user_id integer, create_ts text, modify_ts text,
                unique (group_user_id, user_id));
            create index idx_user_group on R_USER_GROUP (user_id);
            create table R_USER_AUTH (user_id integer, user_auth_name text, create_ts text);
            create table R_RESC_MAIN (resc_id integer primary key, resc_name text unique, zone_name text,
                resc_type_name text, resc_class_name text default '', resc_net text, resc_def_path text,
                free_space text default '', free_space_ts text default '', resc_info text default '',
                r_comment text default '', resc_status text default '', create_ts text, modify_ts text,
                modify_ts_millis text default '000', resc_children text default '', resc_context text default '',
                resc_parent text default '', resc_parent_context text default '');
            create table R_COLL_MAIN (coll_id integer primary key, parent_coll_name text, coll_name text unique,
                coll_owner_name text, coll_owner_zone text, coll_map_id integer default 0,
                coll_inheritance text default '', coll_type text default '', coll_info1 text default '',
                coll_info2 text default '', coll_expiry_ts text default '', r_comment text default '',
                create_ts text, modify_ts text);
            create index idx_coll_parent on R_COLL_MAIN (parent_coll_name);
            create table R_DATA_MAIN (data_id integer, coll_id integer, data_name text, data_repl_num integer,
                data_version text default '', data_type_name text, data_size integer, resc_id integer,
                data_path text, data_owner_name text, data_owner_zone text, data_is_dirty integer,
                data_status text default '', data_checksum text default '', data_expiry_ts text default '00000000000',
                data_map_id integer default 0, data_mode text default '', r_comment text default '',
                create_ts text, modify_ts text, access_ts text,
                unique (data_id, data_repl_num), unique (coll_id, data_name, data_repl_num, data_version));
            create table R_META_MAIN (meta_id integer primary key, meta_namespace text default '', meta_attr_name text,
                meta_attr_value text, meta_attr_unit text default '', r_comment text default '', create_ts text,
                modify_ts text);
            create index idx_meta on R_META_MAIN (meta_attr_name, meta_attr_value, meta_attr_unit);
            create table R_OBJT_METAMAP (object_id integer, meta_id integer, create_ts text, modify_ts text,
                unique (object_id, meta_id));
            create index idx_metamap on R_OBJT_METAMAP (meta_id);
            create table R_TOKN_MAIN (token_namespace text, token_id integer, token_name text);
            create table R_OBJT_ACCESS (object_id integer, user_id integer, access_type_id integer, create_ts text,
                modify_ts text, unique (object_id, user_id));
            create index idx_access_user on R_OBJT_ACCESS (user_id);
            create table R_RULE_EXEC (rule_exec_id integer primary key, rule_name text, rei_file_path text,
                user_name text, exe_address text default '', exe_time text, exe_frequency text, priority text,
                estimated_exe_time text default '', notification_addr text default '', last_exe_time text default '',
                exe_status text default '', exe_context text, lock_host text default '', lock_host_pid text default '',
                lock_ts text default '', create_ts text, modify_ts text);
            insert into R_OBJECTID values (10000);
        )sql";

        constexpr int longest_rule_text = 2700;

        const std::vector<std::pair<int, const char*>>& tokens()
        {
            static const std::vector<std::pair<int, const char*>> all{
                {1000, "null"},
                {1010, "execute"},
                {1020, "read_annotation"},
                {1030, "read_system_metadata"},
                {1040, "read_metadata"},
                {1050, "read_object"},
                {1060, "write_annotation"},
                {1070, "create_metadata"},
                {1080, "modify_metadata"},
                {1090, "delete_metadata"},
                {1100, "administer_object"},
                {1110, "create_object"},
                {1120, "modify_object"},
                {1130, "delete_object"},
                {1140, "create_token"},
                {1150, "delete_token"},
                {1160, "curate"},
                {1200, "own"},
            };
            return all;
        }

        const char* const replica_columns =
            "select d.data_id, d.coll_id, c.coll_name, d.data_name, d.data_repl_num, d.data_size, d.data_is_dirty,"
            " d.data_path, d.resc_id, d.data_owner_name, d.data_owner_zone, d.data_checksum, d.data_type_name, d.modify_ts"
            " from R_DATA_MAIN d join R_COLL_MAIN c on c.coll_id = d.coll_id";

        Replica replica_from(const Row& row)
        {
            Replica replica;
            replica.data_id = row.integer(0);
            replica.coll_id = row.integer(1);
            replica.path = join(row.text(2), row.text(3));
            replica.number = static_cast<int>(row.integer(4));
            replica.size = row.integer(5);
            replica.status = static_cast<int>(row.integer(6));
            replica.physical_path = row.text(7);
            replica.resource_id = row.integer(8);
            replica.owner = row.text(9);
            replica.owner_zone = row.text(10);
            replica.checksum = row.text(11);
            replica.type = row.text(12);
            replica.modified = row.text(13);
            return replica;
        }

        Resource resource_from(const Row& row)
        {
            Resource resource;
            resource.id = row.integer(0);
            resource.name = row.text(1);
            resource.type = row.text(2);
            resource.vault = row.text(3);
            const std::string parent = row.text(4);
            resource.parent = parent.empty() ? 0 : std::stoll(parent);
            return resource;
        }

        const char* const resource_columns =
            "select resc_id, resc_name, resc_type_name, resc_def_path, resc_parent from R_RESC_MAIN";

        Collection collection_from(const Row& row)
        {
            Collection collection;
            collection.id = row.integer(0);
            collection.path = row.text(1);
            collection.owner = row.text(2);
            collection.owner_zone = row.text(3);
            collection.inherits = row.text(4) == "1";
            return collection;
        }

        const char* const collection_columns =
            "select coll_id, coll_name, coll_owner_name, coll_owner_zone, coll_inheritance from R_COLL_MAIN";

        const char* const rule_columns =
            "select rule_exec_id, rule_name, user_name, exe_time, exe_frequency, priority, last_exe_time, lock_host,"
            " lock_host_pid, lock_ts, exe_context from R_RULE_EXEC";

        // The members of the context that decide something here, named as 5.0.2 writes them.
        Json context_of(const DelayedRule& rule)
        {
            const Json right = Json::object({{"scheme", "native"}, {"auth_flag", rule.auth_flag}});
            const Json user = Json::object(
                {{"name", rule.user}, {"type", rule.user_type}, {"zone", rule.user_zone}, {"auth_info", right}});
            return Json::object({{"rule_name", ""}, {"plugin_instance_name", rule.instance}, {"user_info_client", user}});
        }

        DelayedRule rule_from(const Row& row)
        {
            DelayedRule rule;
            rule.id = row.integer(0);
            rule.text = row.text(1);
            rule.listed_user = row.text(2);
            rule.due = row.text(3);
            rule.frequency = row.text(4);
            rule.priority = row.text(5);
            rule.last_run = row.text(6);
            rule.lock_host = row.text(7);
            rule.lock_pid = row.text(8);
            rule.lock_time = row.text(9);
            const Json context = Json::parse(row.text(10));
            const Json& user = *context.find("user_info_client");
            rule.instance = context.find("plugin_instance_name")->as_string();
            rule.user = user.find("name")->as_string();
            rule.user_type = user.find("type")->as_string();
            rule.user_zone = user.find("zone")->as_string();
            rule.auth_flag = static_cast<int>(user.find("auth_info")->find("auth_flag")->as_integer());
            return rule;
        }
    } // namespace

    int access::from_name(const std::string& name)
    {
        if (name == "read") {
            return read;
        }
        if (name == "write") {
            return modify_object;
        }
        for (const auto& [level, token] : tokens()) {
            if (name == token) {
                return level;
            }
        }
        throw Failure{CAT_INVALID_ARGUMENT, "no such permission [" + name + "]"};
    }

    std::string access::name_of(int level)
    {
        for (const auto& [number, token] : tokens()) {
            if (level == number) {
                return token;
            }
        }
        return std::to_string(level);
    }

    Catalog::Catalog(Database& database, std::string zone_name)
        : database_{database}
        , zone_{std::move(zone_name)}
    {
    }

    void Catalog::create_schema(Database& database, const std::string& zone_name)
    {
        Transaction transaction{database};
        database.script(schema);
        const auto now = catalog_now();
        database.execute("insert into R_ZONE_MAIN (zone_id, zone_name, zone_type_name, zone_conn_string, create_ts, modify_ts)"
                         " values (9000, ?, 'local', '', ?, ?)",
                         {zone_name, now, now});
        for (const auto& [level, token] : tokens()) {
            database.execute("insert into R_TOKN_MAIN values ('access_type', ?, ?)",
                             {std::int64_t{level}, std::string{token}});
        }
        transaction.commit();
    }

    std::string Catalog::zone_of(Database& database)
    {
        const auto name = database.text("select zone_name from R_ZONE_MAIN where zone_type_name = 'local'");
        if (!name) {
            throw Failure{CAT_SQL_ERR, "the catalog has no local zone"};
        }
        return *name;
    }

    std::int64_t Catalog::next_id()
    {
        return *database_.integer("update R_OBJECTID set next = next + 1 returning next");
    }

    // ---- users -----------------------------------------------------------------------------------------------

    std::int64_t Catalog::add_user(const std::string& name, const std::string& type, const std::string& zone)
    {
        Transaction transaction{database_};
        if (find_user(name, zone)) {
            throw Failure{CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, "user [" + name + "#" + zone + "] exists"};
        }
        const auto id = next_id();
        const auto now = catalog_now();
        database_.execute("insert into R_USER_MAIN (user_id, user_name, user_type_name, zone_name, create_ts, modify_ts)"
                          " values (?, ?, ?, ?, ?, ?)",
                          {id, name, type, zone, now, now});
        database_.execute("insert into R_USER_GROUP values (?, ?, ?, ?)", {id, id, now, now});
        if (type != "rodsgroup" && find_user("public", zone_)) {
            add_to_group("public", name + "#" + zone);
        }
        transaction.commit();
        return id;
    }

    void Catalog::add_to_group(const std::string& group, const std::string& member)
    {
        const auto hash = member.find('#');
        const auto name = member.substr(0, hash);
        const auto zone = hash == std::string::npos ? zone_ : member.substr(hash + 1);
        const auto now = catalog_now();
        const auto group_user = user(group, zone_);
        if (group_user.type != "rodsgroup") {
            throw Failure{CAT_INVALID_USER, "[" + group + "] is not a group"};
        }
        database_.execute("insert or ignore into R_USER_GROUP values (?, ?, ?, ?)",
                          {group_user.id, user(name, zone).id, now, now});
    }

    void Catalog::remove_user(const User& user)
    {
        Transaction transaction{database_};
        database_.execute("delete from R_USER_MAIN where user_id = ?", {user.id});
        database_.execute("delete from R_OBJT_ACCESS where user_id = ?", {user.id});
        database_.execute("delete from R_USER_GROUP where user_id = ? or group_user_id = ?", {user.id, user.id});
        database_.execute("delete from R_USER_AUTH where user_id = ?", {user.id});
        database_.execute("delete from R_OBJT_METAMAP where object_id = ?", {user.id});
        transaction.commit();
    }

    std::optional<User> Catalog::find_user(const std::string& name, const std::string& zone)
    {
        std::optional<User> found;
        database_.query("select user_id, user_name, zone_name, user_type_name from R_USER_MAIN where user_name = ? and zone_name = ?",
                        {name, zone}, [&found](const Row& row) {
                            found = User{row.integer(0), row.text(1), row.text(2), row.text(3)};
                        });
        return found;
    }

    User Catalog::user(const std::string& name, const std::string& zone)
    {
        auto found = find_user(name, zone);
        if (!found) {
            throw Failure{CAT_INVALID_USER, "no such user [" + name + "#" + zone + "]"};
        }
        return *found;
    }

    // ---- resources -------------------------------------------------------------------------------------------

    std::int64_t Catalog::add_resource(const std::string& name, const std::string& type, const std::string& vault,
                                       const std::string& parent)
    {
        Transaction transaction{database_};
        if (find_resource(name)) {
            throw Failure{CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, "resource [" + name + "] exists"};
        }
        const auto id = next_id();
        const auto now = catalog_now();
        const std::string parent_id = parent.empty() ? "" : std::to_string(resource(parent).id);
        database_.execute("insert into R_RESC_MAIN (resc_id, resc_name, zone_name, resc_type_name, resc_net, resc_def_path,"
                          " resc_parent, create_ts, modify_ts) values (?, ?, ?, ?, 'localhost', ?, ?, ?, ?)",
                          {id, name, zone_, type, vault, parent_id, now, now});
        transaction.commit();
        return id;
    }

    std::optional<Resource> Catalog::find_resource(const std::string& name)
    {
        std::optional<Resource> found;
        database_.query(std::string{resource_columns} + " where resc_name = ?", {name},
                        [&found](const Row& row) { found = resource_from(row); });
        return found;
    }

    Resource Catalog::resource(const std::string& name)
    {
        auto found = find_resource(name);
        if (!found) {
            throw Failure{SYS_RESC_DOES_NOT_EXIST, "no such resource [" + name + "]"};
        }
        return *found;
    }

    Resource Catalog::resource(std::int64_t id)
    {
        std::optional<Resource> found;
        database_.query(std::string{resource_columns} + " where resc_id = ?", {id},
                        [&found](const Row& row) { found = resource_from(row); });
        if (!found) {
            throw Failure{SYS_RESC_DOES_NOT_EXIST, "no resource with id " + std::to_string(id)};
        }
        return *found;
    }

    std::string Catalog::hierarchy(std::int64_t resource_id)
    {
        auto at = resource(resource_id);
        std::string text = at.name;
        while (at.parent != 0) {
            at = resource(at.parent);
            text = at.name + ";" + text;
        }
        return text;
    }

    std::vector<Resource> Catalog::leaves(const Resource& root)
    {
        std::vector<Resource> children;
        database_.query(std::string{resource_columns} + " where resc_parent = ? order by resc_id", {std::to_string(root.id)},
                        [&children](const Row& row) { children.push_back(resource_from(row)); });
        if (children.empty()) {
            return {root};
        }
        std::vector<Resource> all;
        for (const auto& child : children) {
            for (auto& leaf : leaves(child)) {
                all.push_back(std::move(leaf));
            }
        }
        return all;
    }

    // ---- collections -----------------------------------------------------------------------------------------

    std::optional<Collection> Catalog::find_collection(const std::string& path)
    {
        std::optional<Collection> found;
        database_.query(std::string{collection_columns} + " where coll_name = ?", {path},
                        [&found](const Row& row) { found = collection_from(row); });
        return found;
    }

    Collection Catalog::collection(const std::string& path)
    {
        auto found = find_collection(path);
        if (!found) {
            throw Failure{CAT_UNKNOWN_COLLECTION, "no such collection [" + path + "]"};
        }
        return *found;
    }

    Collection Catalog::create_collection(const std::string& path, const User& owner)
    {
        Transaction transaction{database_};
        if (find_collection(path)) {
            throw Failure{CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, "collection [" + path + "] exists"};
        }
        if (find_data(path)) {
            throw Failure{CAT_NAME_EXISTS_AS_DATAOBJ, "[" + path + "] is a data object"};
        }
        const auto parent = path == "/" ? std::optional<Collection>{} : find_collection(parent_of(path));
        const auto id = next_id();
        const auto now = catalog_now();
        database_.execute("insert into R_COLL_MAIN (coll_id, parent_coll_name, coll_name, coll_owner_name, coll_owner_zone,"
                          " coll_inheritance, create_ts, modify_ts) values (?, ?, ?, ?, ?, ?, ?, ?)",
                          {id, parent_of(path), path, owner.name, owner.zone,
                           std::string{parent && parent->inherits ? "1" : ""}, now, now});
        if (parent && parent->inherits) {
            database_.execute("insert into R_OBJT_ACCESS select ?, user_id, access_type_id, ?, ? from R_OBJT_ACCESS where object_id = ?",
                              {id, now, now, parent->id});
        }
        set_access(id, owner, access::own);
        transaction.commit();
        return collection(path);
    }

    void Catalog::remove_collection(std::int64_t id)
    {
        Transaction transaction{database_};
        database_.execute("delete from R_COLL_MAIN where coll_id = ?", {id});
        database_.execute("delete from R_OBJT_ACCESS where object_id = ?", {id});
        database_.execute("delete from R_OBJT_METAMAP where object_id = ?", {id});
        transaction.commit();
    }

    void Catalog::touch_collection(const std::string& path)
    {
        database_.execute("update R_COLL_MAIN set modify_ts = ? where coll_name = ?", {catalog_now(), path});
    }

    void Catalog::set_inheritance(std::int64_t id, bool inherits)
    {
        database_.execute("update R_COLL_MAIN set coll_inheritance = ?, modify_ts = ? where coll_id = ?",
                          {std::string{inherits ? "1" : "0"}, catalog_now(), id});
    }

    std::vector<Collection> Catalog::child_collections(const std::string& path)
    {
        std::vector<Collection> children;
        database_.query(std::string{collection_columns} + " where parent_coll_name = ? and coll_name <> '/' order by coll_name", {path},
                        [&children](const Row& row) { children.push_back(collection_from(row)); });
        return children;
    }

    // ---- data objects ----------------------------------------------------------------------------------------

    std::optional<std::int64_t> Catalog::find_data(const std::string& path)
    {
        return database_.integer("select d.data_id from R_DATA_MAIN d join R_COLL_MAIN c on c.coll_id = d.coll_id"
                                 " where c.coll_name = ? and d.data_name = ? limit 1",
                                 {parent_of(path), zone::name_of(path)});
    }

    std::vector<Replica> Catalog::replicas(std::int64_t data_id)
    {
        std::vector<Replica> all;
        database_.query(std::string{replica_columns} + " where d.data_id = ? order by d.data_repl_num", {data_id},
                        [&all](const Row& row) { all.push_back(replica_from(row)); });
        for (auto& replica : all) {
            replica.hierarchy = hierarchy(replica.resource_id);
        }
        return all;
    }

    std::vector<Replica> Catalog::data_in(const std::string& collection)
    {
        std::vector<Replica> all;
        database_.query(std::string{replica_columns} +
                            " where c.coll_name = ? and d.data_repl_num ="
                            " (select min(data_repl_num) from R_DATA_MAIN m where m.data_id = d.data_id) order by d.data_name",
                        {collection}, [&all](const Row& row) { all.push_back(replica_from(row)); });
        for (auto& replica : all) {
            replica.hierarchy = hierarchy(replica.resource_id);
        }
        return all;
    }

    Replica Catalog::register_data(const std::string& path, const User& owner, const Resource& resource,
                                   const std::string& physical_path, std::int64_t size, int status,
                                   const std::string& type)
    {
        Transaction transaction{database_};
        const auto parent = collection(parent_of(path));
        if (find_collection(path)) {
            throw Failure{CAT_NAME_EXISTS_AS_COLLECTION, "[" + path + "] is a collection"};
        }
        if (find_data(path)) {
            throw Failure{CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, "data object [" + path + "] exists"};
        }
        const auto id = next_id();
        const auto now = catalog_now();
        database_.execute("insert into R_DATA_MAIN (data_id, coll_id, data_name, data_repl_num, data_type_name, data_size,"
                          " resc_id, data_path, data_owner_name, data_owner_zone, data_is_dirty, create_ts, modify_ts, access_ts)"
                          " values (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                          {id, parent.id, zone::name_of(path), type.empty() ? std::string{"generic"} : type, size,
                           resource.id, physical_path, owner.name, owner.zone, std::int64_t{status}, now, now, now});
        if (parent.inherits) {
            database_.execute("insert into R_OBJT_ACCESS select ?, user_id, access_type_id, ?, ? from R_OBJT_ACCESS where object_id = ?",
                              {id, now, now, parent.id});
        }
        set_access(id, owner, access::own);
        transaction.commit();
        return replicas(id).front();
    }

    Replica Catalog::register_replica(const Replica& source, const Resource& resource, const std::string& physical_path,
                                      std::int64_t size, int status)
    {
        Transaction transaction{database_};
        const auto number =
            database_.integer("select max(data_repl_num) + 1 from R_DATA_MAIN where data_id = ?", {source.data_id}).value_or(0);
        const auto now = catalog_now();
        database_.execute("insert into R_DATA_MAIN (data_id, coll_id, data_name, data_repl_num, data_type_name, data_size,"
                          " resc_id, data_path, data_owner_name, data_owner_zone, data_is_dirty, create_ts, modify_ts, access_ts)"
                          " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                          {source.data_id, source.coll_id, zone::name_of(source.path), number, source.type, size, resource.id,
                           physical_path, source.owner, source.owner_zone, std::int64_t{status}, now, now, now});
        transaction.commit();
        for (auto& replica : replicas(source.data_id)) {
            if (replica.number == number) {
                return replica;
            }
        }
        throw Failure{SYS_INTERNAL_ERR, "the new replica is gone"};
    }

    void Catalog::set_status(std::int64_t data_id, int number, int status)
    {
        database_.execute("update R_DATA_MAIN set data_is_dirty = ? where data_id = ? and data_repl_num = ?",
                          {std::int64_t{status}, data_id, std::int64_t{number}});
    }

    void Catalog::set_siblings_status(std::int64_t data_id, int number, int status)
    {
        database_.execute("update R_DATA_MAIN set data_is_dirty = ? where data_id = ? and data_repl_num <> ?",
                          {std::int64_t{status}, data_id, std::int64_t{number}});
    }

    void Catalog::finish_replica(std::int64_t data_id, int number, std::int64_t size, int status,
                                 const std::string& modified)
    {
        database_.execute("update R_DATA_MAIN set data_size = ?, data_is_dirty = ?, modify_ts = ?, data_checksum = ''"
                          " where data_id = ? and data_repl_num = ?",
                          {size, std::int64_t{status}, modified, data_id, std::int64_t{number}});
    }

    void Catalog::set_modify_time(std::int64_t data_id, int number, const std::string& modified)
    {
        database_.execute("update R_DATA_MAIN set modify_ts = ? where data_id = ? and data_repl_num = ?",
                          {modified, data_id, std::int64_t{number}});
    }

    void Catalog::set_physical_path(std::int64_t data_id, int number, const std::string& physical_path)
    {
        database_.execute("update R_DATA_MAIN set data_path = ? where data_id = ? and data_repl_num = ?",
                          {physical_path, data_id, std::int64_t{number}});
    }

    void Catalog::set_checksum(std::int64_t data_id, int number, const std::string& checksum)
    {
        database_.execute("update R_DATA_MAIN set data_checksum = ? where data_id = ? and data_repl_num = ?",
                          {checksum, data_id, std::int64_t{number}});
    }

    void Catalog::set_replica_place(std::int64_t data_id, int number, std::int64_t resource_id,
                                    const std::string& physical_path)
    {
        database_.execute("update R_DATA_MAIN set resc_id = ?, data_path = ? where data_id = ? and data_repl_num = ?",
                          {resource_id, physical_path, data_id, std::int64_t{number}});
    }

    void Catalog::remove_replica(std::int64_t data_id, int number)
    {
        Transaction transaction{database_};
        database_.execute("delete from R_DATA_MAIN where data_id = ? and data_repl_num = ?", {data_id, std::int64_t{number}});
        if (!database_.integer("select 1 from R_DATA_MAIN where data_id = ?", {data_id})) {
            database_.execute("delete from R_OBJT_ACCESS where object_id = ?", {data_id});
            // The AVU itself stays in R_META_MAIN, as it does in iRODS.
            database_.execute("delete from R_OBJT_METAMAP where object_id = ?", {data_id});
        }
        transaction.commit();
    }

    void Catalog::move_data(std::int64_t data_id, const std::string& path)
    {
        const auto parent = collection(parent_of(path));
        // As a 5.0.2 server does: a new collection is a new time, of every replica; a new name, or a new name of the
        // collection, is not.
        database_.execute("update R_DATA_MAIN set modify_ts = ? where data_id = ? and coll_id != ?",
                          {catalog_now(), data_id, parent.id});
        database_.execute("update R_DATA_MAIN set coll_id = ?, data_name = ? where data_id = ?",
                          {parent.id, zone::name_of(path), data_id});
    }

    void Catalog::move_collection(const std::string& from, const std::string& to)
    {
        Transaction transaction{database_};
        // Bytes, not characters: the lengths must agree with what substr counts.
        database_.execute("update R_COLL_MAIN set"
                          " parent_coll_name = cast(cast(? as blob) || substr(cast(parent_coll_name as blob), ?) as text),"
                          " coll_name = cast(cast(? as blob) || substr(cast(coll_name as blob), ?) as text)"
                          " where substr(cast(coll_name as blob), 1, ?) = cast(? as blob)",
                          {to, static_cast<std::int64_t>(from.size() + 1), to, static_cast<std::int64_t>(from.size() + 1),
                           static_cast<std::int64_t>(from.size() + 1), from + "/"});
        database_.execute("update R_COLL_MAIN set coll_name = ?, parent_coll_name = ?, modify_ts = ? where coll_name = ?",
                          {to, parent_of(to), catalog_now(), from});
        transaction.commit();
    }

    // ---- permissions -----------------------------------------------------------------------------------------

    int Catalog::access(std::int64_t object_id, const Actor& actor)
    {
        return static_cast<int>(
            database_
                .integer("select max(a.access_type_id) from R_OBJT_ACCESS a"
                         " join R_USER_GROUP g on g.group_user_id = a.user_id"
                         " join R_USER_MAIN u on u.user_id = g.user_id"
                         " where a.object_id = ? and u.user_name = ? and u.zone_name = ?",
                         {object_id, actor.name, actor.zone})
                .value_or(0));
    }

    void Catalog::require(std::int64_t object_id, const Actor& actor, int level, int failure_code, const std::string& path)
    {
        if (access(object_id, actor) < level) {
            throw Failure{failure_code, "[" + actor.name + "] may not do that to [" + path + "]"};
        }
    }

    void Catalog::set_access(std::int64_t object_id, const User& user, int level)
    {
        const auto now = catalog_now();
        database_.execute("delete from R_OBJT_ACCESS where object_id = ? and user_id = ?", {object_id, user.id});
        if (level > access::null) {
            database_.execute("insert into R_OBJT_ACCESS values (?, ?, ?, ?, ?)",
                              {object_id, user.id, std::int64_t{level}, now, now});
        }
    }

    std::vector<Catalog::Permission> Catalog::permissions(std::int64_t object_id)
    {
        std::vector<Permission> all;
        database_.query("select u.user_name, u.zone_name, a.access_type_id from R_OBJT_ACCESS a"
                        " join R_USER_MAIN u on u.user_id = a.user_id where a.object_id = ? order by u.user_name",
                        {object_id}, [&all](const Row& row) {
                            all.push_back({row.text(0), row.text(1), static_cast<int>(row.integer(2))});
                        });
        return all;
    }

    // ---- the delay queue -------------------------------------------------------------------------------------

    std::int64_t Catalog::add_rule(const DelayedRule& rule)
    {
        if (rule.text.size() > longest_rule_text) {
            throw Failure{CAT_SQL_ERR, "value too long for type character varying(2700)"};
        }
        Transaction transaction{database_};
        const auto id = next_id();
        const auto now = catalog_now();
        database_.execute("insert into R_RULE_EXEC (rule_exec_id, rule_name, rei_file_path, user_name, exe_time, exe_frequency,"
                          " priority, exe_context, lock_host, lock_host_pid, lock_ts, create_ts, modify_ts)"
                          " values (?, ?, 'EMPTY_REI_PATH', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                          {id, rule.text, rule.listed_user, rule.due, rule.frequency, rule.priority, context_of(rule).dump(),
                           rule.lock_host, rule.lock_pid, rule.lock_time, now, now});
        transaction.commit();
        return id;
    }

    std::vector<DelayedRule> Catalog::rules()
    {
        std::vector<DelayedRule> all;
        database_.query(std::string{rule_columns} + " order by priority desc, rule_exec_id", {},
                        [&all](const Row& row) { all.push_back(rule_from(row)); });
        return all;
    }

    std::vector<std::int64_t> Catalog::due_rules(const std::string& now)
    {
        std::vector<std::int64_t> all;
        database_.query("select rule_exec_id from R_RULE_EXEC where exe_time <= ? and lock_host = '' and lock_host_pid = '' and"
                        " lock_ts = '' order by priority desc, rule_exec_id",
                        {now}, [&all](const Row& row) { all.push_back(row.integer(0)); });
        return all;
    }

    std::optional<DelayedRule> Catalog::rule(std::int64_t id)
    {
        std::optional<DelayedRule> found;
        database_.query(std::string{rule_columns} + " where rule_exec_id = ?", {id},
                        [&found](const Row& row) { found = rule_from(row); });
        return found;
    }

    bool Catalog::lock_rule(std::int64_t id, const std::string& host, int pid)
    {
        return database_.execute("update R_RULE_EXEC set lock_host = ?, lock_host_pid = ?, lock_ts = ?"
                                 " where rule_exec_id = ? and lock_host = '' and lock_host_pid = '' and lock_ts = ''",
                                 {host, std::to_string(pid), catalog_now(), id}) == 1;
    }

    void Catalog::reschedule_rule(std::int64_t id, const std::string& last_run, const std::string& due,
                                  const std::optional<std::string>& frequency)
    {
        database_.execute("update R_RULE_EXEC set lock_host = '', lock_host_pid = '', lock_ts = '', last_exe_time = ?,"
                          " exe_time = ?, exe_frequency = coalesce(nullif(?, ''), exe_frequency) where rule_exec_id = ?",
                          {last_run, due, frequency.value_or(""), id});
    }

    void Catalog::remove_rule(std::int64_t id)
    {
        database_.execute("delete from R_RULE_EXEC where rule_exec_id = ?", {id});
    }
} // namespace zone
