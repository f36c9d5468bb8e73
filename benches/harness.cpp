// SPDX-License-Identifier: BSD-3-Clause
// Loads the real library as the server does and calls its operations in a loop, with as little as possible around
// them: what is measured is the plugin. Allocations are counted by replacing malloc's entry points, calls of the
// server by counting in the functions this program exports.
//
//   harness LIBRARY CONFIG_DIRECTORY CASE COUNT
//
// prints one line of JSON: case, calls, processor time of each in nanoseconds, allocations, server calls, what was
// marked and queued, and the most memory the process had, less what it had before the case.
//
// The cases `burst` and `connections` are COUNT puts into one watched collection, by one connection or by a hundred;
// `sweep` is one sweep of a collection of COUNT new data objects, which the server lists in its pages of 256 rows.
// In `exceptions` everything that the plugin asks of the server throws (tests/boundary.rs).
#include "irods_uninstalled.hpp"

#include <irods/dataObjInpOut.h>
#include <irods/irods_default_paths.hpp>
#include <irods/irods_plugin_context.hpp>
#include <irods/irods_re_plugin.hpp>
#include <irods/irods_re_ruleexistshelper.hpp>
#include <irods/modAVUMetadata.h>
#include <irods/rcMisc.h>
#include <irods/rodsErrorTable.h>
#include <irods/rodsKeyWdDef.h>
#include <irods/rodsGenQuery.h>
#include <irods/rsGenQuery.hpp>
#include <irods/rsModAVUMetadata.hpp>
#include <irods/rs_atomic_apply_metadata_operations.hpp>
#include <irods/rs_genquery2.hpp>
#include <irods/rs_get_file_descriptor_info.hpp>

#include <dlfcn.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>

static long allocations = 0;
static long server_calls = 0;
// Of these: looks whether a collection is marked, marks set, sweeps queued, records written, pages of data objects.
static long looks = 0, marks = 0, sweeps = 0, records = 0, pages = 0;
static std::string config_directory;

// ---- allocations
extern "C" void* __libc_malloc(std::size_t);
extern "C" void* __libc_calloc(std::size_t, std::size_t);
extern "C" void* __libc_realloc(void*, std::size_t);
extern "C" void* malloc(std::size_t n)
{
    ++allocations;
    return __libc_malloc(n);
}
extern "C" void* calloc(std::size_t n, std::size_t size)
{
    ++allocations;
    return __libc_calloc(n, size);
}
extern "C" void* realloc(void* p, std::size_t n)
{
    ++allocations;
    return __libc_realloc(p, n);
}

// ---- the server's side

// In the case `exceptions` whatever the plugin asks of the server throws, its log included.
static bool throwing = false;
static void perhaps_throw()
{
    if (throwing) {
        throw std::runtime_error{"thrown by the server"};
    }
}

namespace irods
{
    exception::~exception() {}
    const char* exception::what() const noexcept { return ""; }
    const char* exception::client_display_what() const noexcept { return ""; }

    error::error()
        : status_{false}
        , code_{0}
    {
    }
    error::error(bool status, long long code, std::string message, std::string, int, std::string)
        : status_{status}
        , code_{code}
        , message_{std::move(message)}
    {
    }
    error::error(const error& other)
        : status_{other.status_}
        , code_{other.code_}
        , message_{other.message_}
    {
    }
    error::~error() {}

    boost::filesystem::path get_irods_config_directory() { return config_directory; }

    error default_microservice_manager<default_ms_ctx>::exec_microservice_adapter(std::string,
                                                                                  default_ms_ctx,
                                                                                  std::list<boost::any>&)
    {
        perhaps_throw();
        return ERROR(SYS_NOT_SUPPORTED, "");
    }

    struct irods_abi_rule_engine
    {
        template <typename F>
        static F& operation(pluggable_rule_engine<default_re_ctx>& engine, const char* name)
        {
            return *boost::any_cast<F>(&engine.operations_[name]);
        }
    };
} // namespace irods

struct irods_abi_rule_exists_helper
{
    static RuleExistsHelper* make() { return new RuleExistsHelper; }
};
RuleExistsHelper* RuleExistsHelper::Instance()
{
    static RuleExistsHelper* const instance = irods_abi_rule_exists_helper::make();
    return instance;
}
void RuleExistsHelper::registerRuleRegex(const std::string&) {}

// The state of the one collection there is.
static const std::string due_attribute = "irods::omero::due";
static const std::string collection_path = "/tempZone/home/alice/microscopy/run1";
static std::string due_mark;
static long data_objects = 0;
static std::vector<std::pair<std::string, long>> delayed; // rule text, time

int rs_genquery2(RsComm*, Genquery2Input* input, char** answer)
{
    perhaps_throw();
    ++server_calls;
    const std::string query = input->query_string;
    const auto has = [&query](const std::string& text) { return query.find(text) != std::string::npos; };
    std::string rows;
    if (has("select COLL_ID")) {
        rows = "[\"100\"]";
    }
    else if (has("META_COLL_ATTR_VALUE") && has("'" + due_attribute + "'")) {
        ++looks;
        rows = due_mark.empty() ? "" : "[\"" + due_mark + "\"]";
    }
    else if (has("DELAY_RULE_EXE_TIME where")) {
        for (const auto& [text, time] : delayed) {
            if (has("'" + text + "'")) {
                rows += (rows.empty() ? "[\"" : ",[\"") + std::to_string(time) + "\"]";
            }
        }
    }
    *answer = strdup(("[" + rows + "]").c_str());
    return 0;
}

static std::string cell(int column, long id)
{
    const std::string name = "image" + std::to_string(id) + ".tif";
    switch (column) {
        case COL_D_DATA_ID: return std::to_string(id);
        case COL_DATA_NAME: return name;
        case COL_DATA_REPL_NUM: return "0";
        case COL_D_REPL_STATUS: return "1";
        case COL_DATA_SIZE: return "1048576";
        case COL_D_MODIFY_TIME: return "01600000000";
        case COL_D_DATA_PATH: return "/var/lib/irods/Vault/home/alice/microscopy/run1/" + name;
        case COL_D_RESC_HIER: return "demoResc";
        case COL_D_DATA_CHECKSUM: return "sha2:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        case COL_D_OWNER_NAME: return "nobody";
        case COL_D_OWNER_ZONE: return "tempZone";
        default: return collection_path;
    }
}

int rsGenQuery(RsComm*, GenQueryInp* input, GenQueryOut** answer)
{
    perhaps_throw();
    ++server_calls;
    long first = 1;
    long last = 1;
    const auto selects = [input](int column) {
        const int* const end = input->selectInp.inx + input->selectInp.len;
        return std::find(static_cast<const int*>(input->selectInp.inx), end, column) != end;
    };
    if (selects(COL_D_DATA_PATH)) {
        last = data_objects;
        for (int i = 0; i < input->sqlCondInp.len; ++i) {
            std::sscanf(input->sqlCondInp.value[i], "between '%ld' '%ld'", &first, &last);
        }
        first = std::max<long>(first, input->continueInx);
        ++pages;
    }
    else if (!selects(COL_COLL_NAME)) {
        return CAT_NO_ROWS_FOUND;
    }
    if (first > last || input->maxRows == 0) {
        return CAT_NO_ROWS_FOUND;
    }
    auto* page = static_cast<GenQueryOut*>(std::calloc(1, sizeof(GenQueryOut)));
    page->rowCnt = static_cast<int>(std::min<long>(last - first + 1, MAX_SQL_ROWS));
    page->attriCnt = input->selectInp.len;
    page->continueInx = first + page->rowCnt <= last ? static_cast<int>(first) + page->rowCnt : 0;
    for (int c = 0; c < page->attriCnt; ++c) {
        constexpr int width = 128;
        auto& column = page->sqlResult[c];
        column.attriInx = input->selectInp.inx[c];
        column.len = width;
        column.value = static_cast<char*>(std::calloc(static_cast<std::size_t>(page->rowCnt), width));
        for (int r = 0; r < page->rowCnt; ++r) {
            std::strncpy(column.value + r * width, cell(column.attriInx, first + r).c_str(), width - 1);
        }
    }
    *answer = page;
    return 0;
}
extern "C" int freeGenQueryOut(genQueryOut_t** page)
{
    for (int c = 0; c < (*page)->attriCnt; ++c) {
        std::free((*page)->sqlResult[c].value);
    }
    std::free(*page);
    *page = nullptr;
    return 0;
}
int rsModAVUMetadata(RsComm*, modAVUMetadataInp_t* input)
{
    perhaps_throw();
    ++server_calls;
    if (due_attribute == input->arg3 && std::strcmp(input->arg0, "add") == 0) {
        if (!due_mark.empty()) {
            return CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME;
        }
        due_mark = input->arg4;
        ++marks;
    }
    return 0;
}
extern "C" int rs_atomic_apply_metadata_operations(RsComm*, const char*, char**)
{
    perhaps_throw();
    ++server_calls;
    ++records;
    return 0;
}
int _delayExec(const char* text, const char*, const char* conditions, ruleExecInfo_t*)
{
    perhaps_throw();
    ++server_calls;
    long seconds = 0;
    const char* plus = std::strstr(conditions, "<PLUSET>");
    if (plus) {
        std::sscanf(plus, "<PLUSET>%ld", &seconds);
    }
    delayed.emplace_back(text, std::time(nullptr) + seconds);
    sweeps += std::strstr(text, "\"sweep\"") != nullptr;
    return 0;
}
extern "C" int rs_get_file_descriptor_info(RsComm*, const char*, char**)
{
    perhaps_throw();
    ++server_calls;
    return -1;
}
extern "C" char* getValByKey(const keyValPair_t*, const char*)
{
    perhaps_throw();
    return nullptr;
}
extern "C" int addKeyVal(keyValPair_t*, const char*, const char*)
{
    return 0;
}
extern "C" int clearKeyVal(keyValPair_t*)
{
    return 0;
}
extern "C" int addMsParamToArray(msParamArray_t*, const char*, const char*, void*, bytesBuf_t*, int)
{
    perhaps_throw();
    return 0;
}
extern "C" int addRErrorMsg(struct ErrorStack*, const int, const char*)
{
    perhaps_throw();
    return 0;
}
extern "C" void rodsLog(int level, const char* format, ...)
{
    perhaps_throw();
    if (level <= LOG_ERROR) {
        va_list arguments;
        va_start(arguments, format);
        std::vfprintf(stderr, format, arguments);
        va_end(arguments);
        std::fputc('\n', stderr);
    }
}

// ---- the cases
using context_t = irods::default_re_ctx;
using engine_t = irods::pluggable_rule_engine<context_t>;
using life_t = std::function<irods::error(context_t&, const std::string&)>;
using exists_t = std::function<irods::error(context_t&, const std::string&, bool&)>;
using exec_t =
    std::function<irods::error(context_t&, const std::string&, std::list<boost::any>&, irods::callback)>;
using expression_t =
    std::function<irods::error(context_t&, const std::string&, msParamArray_t*, irods::callback)>;
using manager_t = irods::rule_engine_context_manager<irods::unit, ruleExecInfo_t*, irods::AUDIT_RULE>;

// Of the processor and not of the day: what else the machine does counts less.
static double processor_nanoseconds()
{
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

static long memory_in_kib()
{
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

int main(int argc, char** argv)
{
    if (argc != 5) {
        std::fprintf(stderr, "usage: harness LIBRARY CONFIG_DIRECTORY CASE COUNT\n");
        return 2;
    }
    config_directory = argv[2];
    const std::string which = argv[3];
    const long count = std::atol(argv[4]);
    void* library = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    const auto factory =
        reinterpret_cast<engine_t* (*) (const std::string&, const std::string&)>(dlsym(library, "plugin_factory"));
    using reach = irods::irods_abi_rule_engine;
    context_t context;
    const std::string instance = "omero-instance";
    engine_t* engine = factory(instance, "");
    auto& setup = reach::operation<life_t>(*engine, "setup");
    if (which != "setup") {
        setup(context, instance);
        reach::operation<life_t>(*engine, "start")(context, instance);
    }
    auto& exists = reach::operation<exists_t>(*engine, "rule_exists");
    auto& exec = reach::operation<exec_t>(*engine, "exec_rule");

    auto* comm = static_cast<RsComm*>(std::calloc(1, sizeof(RsComm)));
    std::strcpy(comm->clientUser.userName, "alice");
    std::strcpy(comm->clientUser.rodsZone, "tempZone");
    auto* rei = static_cast<ruleExecInfo_t*>(std::calloc(1, sizeof(ruleExecInfo_t)));
    rei->rsComm = comm;
    manager_t manager{nullptr, rei};
    auto* object = static_cast<DataObjInp*>(std::calloc(1, sizeof(DataObjInp)));
    const bool outside = which == "event_outside";
    std::strcpy(object->objPath,
                outside ? "/tempZone/home/alice/documents/report.pdf" : "/tempZone/home/alice/microscopy/run1/a.tif");
    irods::plugin_property_map properties;
    std::list<boost::any> arguments{std::string{"api"}, irods::plugin_context{comm, properties},
                                    static_cast<dataObjInp_t*>(object)};
    const std::string put = "pep_api_data_obj_put_post";
    const std::string other = "pep_api_data_obj_get_post";
    const auto& asked = which == "rule_exists_hit" ? put : other;
    const irods::callback callback{manager};
    if (which == "event_marked" || which == "event_outside") {
        exec(context, put, arguments, callback); // sets the mark, or asks for tags: both are remembered
    }

    bool found = false;
    long wrong = 0;
    const bool expected = which == "rule_exists_hit";
    allocations = server_calls = 0;
    looks = marks = sweeps = 0;
    const long memory_before = memory_in_kib();
    const double start = processor_nanoseconds();
    if (which == "rule_exists_hit" || which == "rule_exists_miss") {
        for (long i = 0; i < count; ++i) {
            exists(context, asked, found);
            wrong += found != expected;
        }
    }
    else if (which == "event_outside" || which == "event_marked") {
        for (long i = 0; i < count; ++i) {
            wrong += exec(context, put, arguments, callback).code() != RULE_ENGINE_CONTINUE;
        }
    }
    else if (which == "burst" || which == "connections") {
        const long connections = which == "burst" ? 1 : 100;
        for (long i = 0; i < count; ++i) {
            if (i % (count / connections) == 0) {
                reach::operation<life_t>(*engine, "start")(context, instance);
            }
            wrong += exec(context, put, arguments, callback).code() != RULE_ENGINE_CONTINUE;
        }
    }
    else if (which == "sweep") {
        data_objects = count;
        const std::string sweep = R"({"operation":"sweep","collection":"100"})";
        auto& run = reach::operation<expression_t>(*engine, "exec_rule_expression");
        wrong += !run(context, sweep, nullptr, callback).ok();
        wrong += records != count;
    }
    else if (which == "setup") {
        for (long i = 0; i < count; ++i) {
            engine_t* fresh = factory(instance, "");
            reach::operation<life_t>(*fresh, "setup")(context, instance);
            wrong += !reach::operation<exists_t>(*fresh, "rule_exists")(context, put, found).ok() || !found;
            delete fresh;
        }
    }
    else if (which == "exceptions") {
        modAVUMetadataInp_t forged{};
        char words[][32] = {"add", "-d", "/tempZone/home/alice/a.tif", "irods::omero::state", "imported", ""};
        forged.arg0 = words[0], forged.arg1 = words[1], forged.arg2 = words[2], forged.arg3 = words[3];
        forged.arg4 = words[4], forged.arg5 = forged.arg6 = forged.arg7 = forged.arg8 = forged.arg9 = words[5];
        modAVUMetadataInp_t copy = forged;
        char operation[] = "cp", source[] = "/tempZone/home/alice/b.tif";
        copy.arg0 = operation, copy.arg3 = source;
        const auto metadata = [&](modAVUMetadataInp_t* input) {
            std::list<boost::any> words_of_call{std::string{"api"}, irods::plugin_context{comm, properties}, input};
            return exec(context, "pep_api_mod_avu_metadata_pre", words_of_call, callback).code();
        };
        const std::string sweep = R"({"operation":"sweep","collection":"100"})";
        auto& run = reach::operation<expression_t>(*engine, "exec_rule_expression");
        std::string user = "alice#tempZone", answer;
        std::list<boost::any> texts{&user, &answer};
        constexpr long long not_allowed = -830000;
        throwing = true;
        for (long i = 0; i < count; ++i) {
            // Nothing passes to the server, what has nothing to do with us goes on, and the guard is closed.
            wrong += exec(context, put, arguments, callback).code() != RULE_ENGINE_CONTINUE;
            wrong += metadata(&forged) != not_allowed;
            wrong += metadata(&copy) != not_allowed;
            wrong += run(context, sweep, nullptr, callback).ok();
            wrong += exec(context, "omero_who", texts, callback).ok();
        }
        throwing = false;
        wrong += metadata(&copy) != RULE_ENGINE_CONTINUE;
    }
    else {
        std::fprintf(stderr, "no such case: %s\n", which.c_str());
        return 2;
    }
    const double nanoseconds = processor_nanoseconds() - start;
    std::printf("{\"case\": \"%s\", \"calls\": %ld, \"ns\": %.2f, \"allocations\": %ld, \"server_calls\": %ld, "
                "\"looks\": %ld, \"marks\": %ld, \"sweeps\": %ld, \"records\": %ld, \"pages\": %ld, \"kib\": %ld}\n",
                which.c_str(), count, nanoseconds / static_cast<double>(count), allocations, server_calls, looks, marks,
                sweeps, records, pages, memory_in_kib() - memory_before);
    return wrong ? 1 : 0;
}
