// SPDX-License-Identifier: BSD-3-Clause

#include "metadata.hpp"

#include "json.hpp"
#include "meeting.hpp"
#include "support.hpp"

#include "irods/rcMisc.h"
#include "irods/rodsKeyWdDef.h"

#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace zone
{
    namespace
    {
        constexpr int cat_success_but_with_no_info = -819000;
        constexpr int input_arg_not_well_formed_err = -1084000;

        std::string text_or_empty(const char* text)
        {
            return text == nullptr ? "" : text;
        }

        // Of several equal ones the one inserted first. PostgreSQL promises no order, but that is what it gives.
        std::optional<std::int64_t> find_avu(Database& database, const Avu& avu)
        {
            return database.integer("select meta_id from R_META_MAIN where meta_attr_name = ? and meta_attr_value = ? and meta_attr_unit = ?"
                                    " order by meta_id limit 1",
                                    {avu.attribute, avu.value, avu.units});
        }

        std::int64_t insert_avu(Catalog& catalog, const Avu& avu)
        {
            const auto id = catalog.next_id();
            const auto now = catalog_now();
            catalog.database().execute("insert into R_META_MAIN (meta_id, meta_attr_name, meta_attr_value, meta_attr_unit, create_ts, modify_ts)"
                                       " values (?, ?, ?, ?, ?, ?)",
                                       {id, avu.attribute, avu.value, avu.units, now, now});
            return id;
        }

        // Failure CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME if the object has this row already.
        void attach(Catalog& catalog, std::int64_t object, std::int64_t avu)
        {
            const auto now = catalog_now();
            catalog.database().execute("insert into R_OBJT_METAMAP values (?, ?, ?, ?)", {object, avu, now, now});
        }

        bool is_attached(Catalog& catalog, std::int64_t object, std::int64_t avu)
        {
            return catalog.database().integer("select 1 from R_OBJT_METAMAP where object_id = ? and meta_id = ?", {object, avu}).has_value();
        }

        void require_valid(const Avu& avu)
        {
            if (avu.attribute.empty() || avu.value.empty()) {
                throw Failure{CAT_INVALID_ARGUMENT, "an AVU needs an attribute and a value"};
            }
        }

        bool is_data(const std::string& type) { return type == "-d" || type == "-D"; }
        bool is_collection(const std::string& type) { return type == "-c" || type == "-C"; }

        // The object, if the session may do this much to its metadata.
        std::int64_t entity_for(Session& session, const std::string& type, const std::string& name, int level, bool admin)
        {
            const auto id = find_entity(session, type, name);
            if (is_data(type) || is_collection(type)) {
                if (!admin) {
                    session.catalog().require(id, session.actor(), level, CAT_NO_ACCESS_PERMISSION, name);
                }
            }
            else if (!session.privileged()) {
                throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "only a rodsadmin changes metadata of [" + name + "]"};
            }
            return id;
        }

        void add(Session& session, std::int64_t object, const Avu& avu)
        {
            require_valid(avu);
            Catalog& catalog = session.catalog();
            // Before the transaction, which here keeps all others out: what they commit from now on is not seen.
            const auto known = find_avu(catalog.database(), avu);
            meet(session.server().directory, "avu", avu.attribute);
            Transaction transaction{catalog.database()};
            attach(catalog, object, known ? *known : insert_avu(catalog, avu));
            transaction.commit();
        }

        // In place where the object has exactly one AVU of that name and shares it with none, keeping its create time
        // (so a second row of a triple may come about); added where it has none; else all of that name are taken off and
        // the new one is added. In that last case the name is a pattern, as it is in 5.0.2: `set` of `a_b` also takes
        // `axb` off.
        void set(Session& session, std::int64_t object, const Avu& avu)
        {
            require_valid(avu);
            Catalog& catalog = session.catalog();
            Database& database = catalog.database();
            std::vector<std::int64_t> uses;
            database.query("select m.meta_id from R_OBJT_METAMAP m where m.meta_id in (select a.meta_id from R_META_MAIN a join"
                           " R_OBJT_METAMAP o on o.meta_id = a.meta_id where o.object_id = ? and a.meta_attr_name = ?) limit 2",
                           {object, avu.attribute}, [&uses](const Row& row) { uses.push_back(row.integer(0)); });
            if (uses.empty()) {
                add(session, object, avu);
                return;
            }
            Transaction transaction{database};
            if (uses.size() == 1) {
                database.execute("update R_META_MAIN set meta_attr_value = ?, meta_attr_unit = ?, modify_ts = ? where meta_id = ?",
                                 {avu.value, avu.units, catalog_now(), uses.front()});
            }
            else {
                database.execute("delete from R_OBJT_METAMAP where object_id = ? and meta_id in"
                                 " (select meta_id from R_META_MAIN where meta_attr_name like ? escape '\\')",
                                 {object, avu.attribute});
                const auto known = find_avu(database, avu);
                attach(catalog, object, known ? *known : insert_avu(catalog, avu));
            }
            transaction.commit();
        }

        void remove(Session& session, std::int64_t object, const Avu& avu)
        {
            require_valid(avu);
            const int removed = session.catalog().database().execute(
                "delete from R_OBJT_METAMAP where object_id = ? and meta_id in (select meta_id from R_META_MAIN"
                " where meta_attr_name = ? and meta_attr_value = ? and meta_attr_unit = ?)",
                {object, avu.attribute, avu.value, avu.units});
            if (removed == 0) {
                throw Failure{cat_success_but_with_no_info, "the object has no such AVU"};
            }
        }

        void remove_by_id(Session& session, std::int64_t object, const std::string& id)
        {
            const int removed = session.catalog().database().execute(
                "delete from R_OBJT_METAMAP where object_id = ? and meta_id = cast(? as integer)", {object, id});
            if (removed == 0) {
                throw Failure{cat_success_but_with_no_info, "the object has no such AVU"};
            }
        }

        // "n:", "v:" and "u:" mark what is new; the unmarked one after the value is the old units.
        void modify(Session& session, std::int64_t object, const ModifyAVUMetadataInput& input)
        {
            Avu before{text_or_empty(input.arg3), text_or_empty(input.arg4), ""};
            Avu after = before;
            std::optional<std::string> units;
            for (const char* argument : {input.arg5, input.arg6, input.arg7, input.arg8}) {
                const std::string text = text_or_empty(argument);
                if (starts_with(text, "n:")) {
                    after.attribute = text.substr(2);
                }
                else if (starts_with(text, "v:")) {
                    after.value = text.substr(2);
                }
                else if (starts_with(text, "u:")) {
                    units = text.substr(2);
                }
                else if (argument == input.arg5) {
                    before.units = text;
                }
                else if (!text.empty()) {
                    throw Failure{CAT_INVALID_ARGUMENT, "what is [" + text + "]?"};
                }
            }
            after.units = units.value_or(before.units);
            Transaction transaction{session.catalog().database()};
            remove(session, object, before);
            const auto known = find_avu(session.catalog().database(), after);
            attach(session.catalog(), object, known ? *known : insert_avu(session.catalog(), after));
            transaction.commit();
        }

        struct AtomicFailure
        {
            int code;
            Json output;
        };

        Json error_object(const Json& operation, std::int64_t index, const std::string& message)
        {
            return Json::object({{"operation", operation}, {"operation_index", index}, {"error_message", message}});
        }

        std::string member(const Json& object, const char* name)
        {
            const auto* found = object.find(name);
            if (found == nullptr) {
                throw std::invalid_argument{std::string{"key '"} + name + "' not found"};
            }
            return found->as_string();
        }

        // What a client saw of a triple before others could insert it or attach it.
        struct Seen
        {
            std::optional<std::int64_t> avu;
            bool attached = false;
        };
        using SeenTriples = std::map<std::tuple<std::string, std::string, std::string>, Seen>;

        // Looks for the rows of all triples that are to be added, each before it is touched, and then meets the others.
        // What the first operation of a triple saw is not true for the later ones, which look for themselves.
        SeenTriples look_at(Session& session, std::int64_t object, const Json& operations)
        {
            Catalog& catalog = session.catalog();
            SeenTriples all;
            std::set<SeenTriples::key_type> touched;
            for (const auto& operation : operations.elements()) {
                Avu avu;
                try {
                    avu = {member(operation, "attribute"), member(operation, "value"),
                           operation.find("units") != nullptr ? member(operation, "units") : ""};
                    if (member(operation, "operation") != "add") {
                        touched.insert({avu.attribute, avu.value, avu.units});
                        continue;
                    }
                }
                catch (const std::invalid_argument&) {
                    continue; // told when its turn comes
                }
                const SeenTriples::key_type triple{avu.attribute, avu.value, avu.units};
                if (!touched.insert(triple).second) {
                    continue;
                }
                Seen seen{find_avu(catalog.database(), avu), false};
                seen.attached = seen.avu && is_attached(catalog, object, *seen.avu);
                if (meet(session.server().directory, "avu", avu.attribute) || !seen.avu) {
                    all.emplace(triple, seen);
                }
            }
            return all;
        }

        void add_unless_attached(Catalog& catalog, std::int64_t object, const Avu& avu, SeenTriples& before)
        {
            Seen seen;
            const auto known = before.find({avu.attribute, avu.value, avu.units});
            if (known != before.end()) {
                seen = known->second;
                before.erase(known);
            }
            else {
                seen.avu = find_avu(catalog.database(), avu);
                seen.attached = seen.avu && is_attached(catalog, object, *seen.avu);
            }
            if (!seen.attached) {
                attach(catalog, object, seen.avu ? *seen.avu : insert_avu(catalog, avu));
            }
        }

        void apply_one(Catalog& catalog, std::int64_t object, const Json& operation, std::int64_t index, SeenTriples& seen)
        {
            try {
                Avu avu{member(operation, "attribute"), member(operation, "value"), ""};
                if (avu.attribute.empty() || avu.value.empty()) {
                    throw AtomicFailure{SYS_INVALID_INPUT_PARAM,
                                        error_object(operation, index, "Empty metadata attribute name or value")};
                }
                if (operation.find("units") != nullptr) {
                    avu.units = member(operation, "units");
                }
                const std::string kind = member(operation, "operation");
                if (kind == "add") {
                    add_unless_attached(catalog, object, avu, seen);
                }
                else if (kind == "remove") {
                    // The first row of the triple, whether the object has that one or another.
                    if (const auto id = find_avu(catalog.database(), avu)) {
                        catalog.database().execute("delete from R_OBJT_METAMAP where object_id = ? and meta_id = ?", {object, *id});
                    }
                }
                else {
                    throw AtomicFailure{INVALID_OPERATION, error_object(operation, index, "Invalid metadata operation.")};
                }
            }
            catch (const std::invalid_argument& e) {
                throw AtomicFailure{JSON_VALIDATION_ERROR, error_object(operation, index, e.what())};
            }
            catch (const Failure& failure) {
                // Whatever the database refuses, a row that exists included.
                throw AtomicFailure{SYS_LIBRARY_ERROR, error_object(operation, index, failure.what())};
            }
        }

        // The entity as the session can see it.
        std::optional<std::int64_t> visible_entity(Session& session, const std::string& name, const std::string& type)
        {
            Catalog& catalog = session.catalog();
            const auto visible = [&](std::optional<std::int64_t> id) -> std::optional<std::int64_t> {
                if (id && !session.privileged() && catalog.access(*id, session.actor()) < access::read) {
                    return std::nullopt;
                }
                return id;
            };
            if (type == "data_object") {
                return visible(catalog.find_data(name));
            }
            if (type == "collection") {
                const auto collection = catalog.find_collection(name);
                return visible(collection ? std::optional<std::int64_t>{collection->id} : std::nullopt);
            }
            if (type == "user") {
                return catalog.database().integer("select user_id from R_USER_MAIN where user_name = ?", {name});
            }
            if (type == "resource") {
                return catalog.database().integer("select resc_id from R_RESC_MAIN where resc_name = ?", {name});
            }
            throw AtomicFailure{SYS_INVALID_INPUT_PARAM, error_object({}, 0, "invalid entity type [" + type + "]")};
        }

        void apply_all(Session& session, const std::string& text)
        {
            Json input;
            try {
                input = Json::parse(text);
            }
            catch (const std::invalid_argument& e) {
                throw AtomicFailure{input_arg_not_well_formed_err, error_object({}, 0, e.what())};
            }
            if (!input.is_utf8()) {
                throw AtomicFailure{input_arg_not_well_formed_err, error_object({}, 0, "invalid string: ill-formed UTF-8 byte")};
            }
            std::int64_t object = 0;
            std::string type;
            try {
                const std::string name = member(input, "entity_name");
                type = member(input, "entity_type");
                const auto found = visible_entity(session, name, type);
                if (!found) {
                    throw std::invalid_argument{"Entity does not exist [entity_name=" + name + "]"};
                }
                object = *found;
            }
            catch (const std::invalid_argument& e) {
                throw AtomicFailure{SYS_INVALID_INPUT_PARAM, error_object({}, 0, e.what())};
            }

            Catalog& catalog = session.catalog();
            const auto* admin = input.find("admin_mode");
            const auto* operations = input.find("operations");
            if (admin != nullptr && admin->as_bool()) {
                if (!session.privileged()) {
                    throw AtomicFailure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, error_object({}, 0, "User is not an administrator")};
                }
            }
            else {
                const bool owned = type == "data_object" || type == "collection";
                if (owned ? catalog.access(object, session.actor()) < access::modify_metadata : !session.privileged()) {
                    throw AtomicFailure{CAT_NO_ACCESS_PERMISSION, error_object({}, 0, "User not allowed to modify metadata")};
                }
            }
            if (operations == nullptr) {
                throw AtomicFailure{SYS_INTERNAL_ERR, error_object({}, 0, "key 'operations' not found")};
            }
            SeenTriples seen = look_at(session, object, *operations);
            Transaction transaction{catalog.database()};
            std::int64_t index = 0;
            for (const auto& operation : operations->elements()) {
                apply_one(catalog, object, operation, index, seen);
                ++index;
            }
            transaction.commit();
        }
    } // namespace

    std::int64_t find_entity(Session& session, const std::string& type, const std::string& name)
    {
        Catalog& catalog = session.catalog();
        if (is_data(type)) {
            const auto id = catalog.find_data(name);
            if (!id) {
                throw Failure{CAT_UNKNOWN_FILE, "no such data object [" + name + "]"};
            }
            return *id;
        }
        if (is_collection(type)) {
            return catalog.collection(name).id;
        }
        if (type == "-u" || type == "-U") {
            const auto hash = name.find('#');
            return catalog.user(name.substr(0, hash), hash == std::string::npos ? catalog.zone() : name.substr(hash + 1)).id;
        }
        if (type == "-r" || type == "-R") {
            const auto resource = catalog.find_resource(name);
            if (!resource) {
                throw Failure{CAT_INVALID_RESOURCE, "no such resource [" + name + "]"};
            }
            return resource->id;
        }
        throw Failure{CAT_INVALID_ARGUMENT, "what kind of thing is [" + type + "]?"};
    }

    void modify_metadata(Session& session, const ModifyAVUMetadataInput& input)
    {
        const std::string operation = text_or_empty(input.arg0);
        const std::string type = text_or_empty(input.arg1);
        const std::string name = text_or_empty(input.arg2);
        const bool admin = getValByKey(&input.condInput, ADMIN_KW) != nullptr;
        if (admin && !session.privileged()) {
            throw Failure{CAT_INSUFFICIENT_PRIVILEGE_LEVEL, "[irodsAdmin] is for rodsadmins"};
        }
        const Avu avu{text_or_empty(input.arg3), text_or_empty(input.arg4), text_or_empty(input.arg5)};
        const auto entity = [&](int level) { return entity_for(session, type, name, level, admin); };

        if (operation == "add") {
            database_operation(session, "add_avu_metadata", [&] { add(session, entity(access::create_metadata), avu); });
        }
        else if (operation == "set") {
            database_operation(session, "set_avu_metadata", [&] { set(session, entity(access::create_metadata), avu); });
        }
        else if (operation == "rm") {
            database_operation(session, "del_avu_metadata", [&] { remove(session, entity(access::delete_metadata), avu); });
        }
        else if (operation == "rmi") {
            database_operation(session, "del_avu_metadata",
                               [&] { remove_by_id(session, entity(access::delete_metadata), avu.attribute); });
        }
        else if (operation == "mod") {
            database_operation(session, "mod_avu_metadata", [&] { modify(session, entity(access::modify_metadata), input); });
        }
        else if (operation == "cp") {
            database_operation(session, "copy_avu_metadata", [&] {
                const auto from = entity_for(session, type, text_or_empty(input.arg3), access::read, admin);
                const auto to = entity_for(session, name, text_or_empty(input.arg4), access::create_metadata, admin);
                copy_metadata(session.catalog(), from, to);
            });
        }
        else {
            throw Failure{CAT_INVALID_ARGUMENT, "no metadata operation [" + operation + "] in 5.0"};
        }
    }

    int apply_metadata_operations(Session& session, const std::string& json, std::string& output)
    {
        try {
            apply_all(session, json);
            output = "{}";
            return 0;
        }
        catch (const AtomicFailure& failure) {
            output = failure.output.dump();
            session.last_failure = output;
            return failure.code;
        }
        catch (const std::invalid_argument& e) {
            output = error_object({}, 0, e.what()).dump();
            session.last_failure = output;
            return SYS_INTERNAL_ERR;
        }
    }

    std::vector<Avu> metadata_of(Catalog& catalog, std::int64_t object_id)
    {
        std::vector<Avu> all;
        catalog.database().query("select m.meta_attr_name, m.meta_attr_value, m.meta_attr_unit from R_OBJT_METAMAP o"
                                 " join R_META_MAIN m on m.meta_id = o.meta_id where o.object_id = ?"
                                 " order by m.meta_attr_name, m.meta_attr_value, m.meta_attr_unit",
                                 {object_id}, [&all](const Row& row) {
                                     all.push_back({row.text(0), row.text(1), row.text(2)});
                                 });
        return all;
    }

    void copy_metadata(Catalog& catalog, std::int64_t from, std::int64_t to)
    {
        const auto now = catalog_now();
        catalog.database().execute("insert into R_OBJT_METAMAP select ?, meta_id, ?, ? from R_OBJT_METAMAP where object_id = ?",
                                   {to, now, now, from});
    }
} // namespace zone
