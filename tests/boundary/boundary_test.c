/* SPDX-License-Identifier: BSD-3-Clause
 * The boundary as C sees it: the real library, a host table written in C, and every pointer that may be null.
 * Arguments: the library, a directory without server_config.json, one with a broken one, one with a good one. */
#define _GNU_SOURCE /* memmem */
#include "omero_plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks;
static char last_log[8192];
static char whole_log[65536];
static int log_lines;
static int queries;

#define CHECK(condition)                                                                \
    do {                                                                                \
        ++checks;                                                                       \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%s:%d: %s\nlast log line: %s\n", __FILE__, __LINE__, #condition, last_log); \
            return 1;                                                                   \
        }                                                                               \
    } while (0)

static omero_text text(const char* s)
{
    omero_text t = {s, s ? strlen(s) : 0};
    return t;
}

static void host_log(omero_level level, omero_text line)
{
    (void) level;
    ++log_lines;
    snprintf(last_log, sizeof last_log, "%.*s", (int) line.size, line.data);
    size_t used = strlen(whole_log);
    snprintf(whole_log + used, sizeof whole_log - used, "%s\n", last_log);
}

static int64_t host_query(omero_session* s, bool privileged, omero_text q, omero_buffer* json)
{
    (void) s, (void) privileged, (void) q;
    ++queries;
    json->data = strdup("this is not JSON");
    json->size = strlen(json->data);
    return 0;
}

static int64_t host_list(omero_session* s,
                         const int32_t* columns,
                         size_t column_count,
                         const omero_condition* conditions,
                         size_t condition_count,
                         omero_row row,
                         void* context)
{
    omero_text short_row[1] = {{"x", 1}};
    (void) s, (void) columns, (void) column_count, (void) conditions, (void) condition_count;
    row(context, short_row, 1); /* fewer columns than promised */
    return 0;
}

static int64_t host_apply(omero_session* s, omero_account service, omero_text request)
{
    (void) s, (void) service, (void) request;
    return -1;
}

static int64_t host_avu(omero_session* s,
                        omero_account service,
                        omero_text o,
                        omero_entity e,
                        omero_text n,
                        omero_text a,
                        omero_text v,
                        omero_text u)
{
    (void) s, (void) service, (void) o, (void) e, (void) n, (void) a, (void) v, (void) u;
    return -818000;
}

static int64_t host_replicate(omero_session* s, omero_text path, omero_text resource)
{
    (void) s; (void) path; (void) resource;
    return -1;
}

static int delays;
static char last_delay[1024];

static int64_t host_make_collection(omero_session* s, omero_account service, omero_text path, bool parents)
{
    (void) s, (void) service, (void) path, (void) parents;
    return -818000;
}

static int64_t host_remove_collection(omero_session* s, omero_account service, omero_text path)
{
    (void) s, (void) service, (void) path;
    return -818000;
}

static int64_t host_delay(omero_session* s, const omero_account* service, omero_text t, omero_text c)
{
    (void) s, (void) service;
    ++delays;
    snprintf(last_delay, sizeof last_delay, "%.*s under %.*s", (int) t.size, t.data, (int) c.size, c.data);
    return -1;
}

static int64_t host_descriptor(omero_session* s, int32_t d, omero_buffer* json)
{
    (void) s, (void) d, (void) json;
    return -1;
}

static int64_t host_client(omero_session* s, omero_text* name, omero_text* zone, bool* admin)
{
    (void) s;
    *name = text("alice");
    *zone = text("tempZone");
    *admin = false;
    return 0;
}

static int64_t host_keyword(const void* condition, omero_text key, omero_text* value)
{
    (void) condition, (void) key, (void) value;
    return 0;
}

static char last_message[2048];

static void host_message(omero_session* s, int64_t code, omero_text sentence)
{
    (void) s, (void) code;
    snprintf(last_message, sizeof last_message, "%.*s", (int) sentence.size, sentence.data);
}

static void host_release(omero_buffer* buffer)
{
    free(buffer->data);
    buffer->data = NULL;
    buffer->size = 0;
}

static const omero_host host = {host_log,
                                host_query,
                                host_list,
                                host_apply,
                                host_avu,
                                host_replicate,
                                host_make_collection,
                                host_remove_collection,
                                // What is done as a user, which no call here asks for.
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                host_delay,
                                host_descriptor,
                                host_client,
                                host_keyword,
                                host_message,
                                host_release};

static char output[4096];

static void write_output(void* context, omero_text line)
{
    (void) context;
    snprintf(output, sizeof output, "%.*s", (int) line.size, line.data);
}

static void assign(void* context, size_t argument, omero_text value)
{
    (void) context;
    (void) argument;
    (void) value;
}

#define CONTINUE 5000000
#define NOT_ALLOWED (-830000)

static omero_argument avu(const char* operation, const char* attribute)
{
    omero_argument words = {0};
    words.kind = OMERO_ARGUMENT_AVU;
    words.text[0] = text(operation);
    words.text[1] = text("-d");
    words.text[2] = text("/tempZone/home/alice/a.tif");
    words.text[3] = text(attribute);
    words.text[4] = text("imported");
    return words;
}

#define LOAD(name) __typeof__(name)* p_##name = (__typeof__(name)*) dlsym(library, #name); CHECK(p_##name)

int main(int argc, char** argv)
{
    CHECK(argc == 5);
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    CHECK(dlsym(library, "plugin_factory"));
    LOAD(omero_plugin_new);
    LOAD(omero_plugin_free);
    LOAD(omero_plugin_setup);
    LOAD(omero_plugin_start);
    LOAD(omero_plugin_stop);
    LOAD(omero_plugin_regex);
    LOAD(omero_plugin_rule_exists);
    LOAD(omero_plugin_rule_name);
    LOAD(omero_plugin_pep);
    LOAD(omero_plugin_rule_text);
    LOAD(omero_plugin_is_function);
    LOAD(omero_plugin_function);

    const char* put = "pep_api_data_obj_put_post";
    int session_room;
    omero_session* session = (omero_session*) &session_room;
    omero_argument object = {0};
    object.kind = OMERO_ARGUMENT_DATA_OBJECT;
    object.text[0] = text("/tempZone/home/alice/a.tif");

    /* Null plugins are declined, not followed. */
    p_omero_plugin_free(NULL);
    CHECK(p_omero_plugin_setup(NULL, text(argv[2])) == 0);
    CHECK(!p_omero_plugin_rule_exists(NULL, text(put)));
    CHECK(p_omero_plugin_regex(NULL).size == 0);
    CHECK(p_omero_plugin_rule_name(NULL, 0).size == 0);
    CHECK(p_omero_plugin_pep(NULL, session, text(put), &object) == CONTINUE);
    const omero_argument forged = avu("add", "irods::omero::state");
    const omero_argument harmless = avu("add", "colour");
    const char* avu_pre = "pep_api_mod_avu_metadata_pre";
    const char* atomic_pre = "pep_api_atomic_apply_metadata_operations_pre";
    CHECK(p_omero_plugin_pep(NULL, session, text(avu_pre), &forged) == CONTINUE);
    CHECK(p_omero_plugin_rule_text(NULL, session, text("{}"), false, false, write_output, NULL) == CONTINUE);
    CHECK(!p_omero_plugin_is_function(NULL, text("omero_who")));
    CHECK(p_omero_plugin_function(NULL, session, text("omero_who"), NULL, 0, assign, NULL) == CONTINUE);

    /* A configuration that is not there, or wrong: loads, says so, declines everything but to guard its attributes. */
    for (int i = 2; i <= 3; ++i) {
        omero_plugin* broken = p_omero_plugin_new(&host, text("omero-instance"));
        CHECK(broken);
        log_lines = 0;
        CHECK(p_omero_plugin_setup(broken, text(argv[i])) == 0);
        CHECK(log_lines >= 2 && strstr(last_log, "until they are mended"));
        CHECK(!p_omero_plugin_rule_exists(broken, text(put)));
        char regex[8192];
        snprintf(regex, sizeof regex, "%.*s", (int) p_omero_plugin_regex(broken).size, p_omero_plugin_regex(broken).data);
        CHECK(strstr(regex, avu_pre) && strstr(regex, "acPreProcForModifyAVUMetadata") && !strstr(regex, "_post"));
        CHECK(p_omero_plugin_rule_exists(broken, text(avu_pre)));
        for (size_t n = 0; p_omero_plugin_rule_name(broken, n).size > 0; ++n) {
            CHECK(!memmem(p_omero_plugin_rule_name(broken, n).data, p_omero_plugin_rule_name(broken, n).size, "_post", 5));
        }
        CHECK(p_omero_plugin_pep(broken, session, text(avu_pre), &harmless) == CONTINUE);
        CHECK(p_omero_plugin_pep(broken, session, text(avu_pre), &forged) == NOT_ALLOWED);
        CHECK(strstr(last_message, "'irods::omero::state' is reserved"));
        /* By the name that can be read, whatever else is wrong. */
        const omero_argument of_site = avu("set", "lab::state");
        CHECK(p_omero_plugin_pep(broken, session, text(avu_pre), &of_site) == (i == 2 ? CONTINUE : NOT_ALLOWED));
        CHECK(p_omero_plugin_pep(broken, session, text(put), &object) == CONTINUE);
        CHECK(p_omero_plugin_rule_text(broken, session, text("{\"operation\":\"sweep\",\"collection\":\"1\"}"),
                                       false, false, write_output, NULL) == CONTINUE);
        CHECK(p_omero_plugin_rule_text(broken, session, text("{}"), true, false, write_output, NULL) == -154000);
        CHECK(strstr(output, "configuration"));
        /* A job waits, without a word; what is no job of ours goes. */
        output[0] = '\0';
        delays = 0;
        CHECK(p_omero_plugin_rule_text(broken, session, text("{\"operation\":\"sweep_all\"}"), true, true, write_output,
                                       NULL) == 0);
        CHECK(delays == 1 && strstr(last_delay, "sweep_all") && strstr(last_delay, "<INST_NAME>omero-instance</INST_NAME>"));
        CHECK(p_omero_plugin_rule_text(broken, session, text("{}"), true, true, write_output, NULL) == 0);
        CHECK(delays == 1 && output[0] == '\0');
        p_omero_plugin_free(broken);
    }

    omero_plugin* plugin = p_omero_plugin_new(&host, text("omero-instance"));
    CHECK(!p_omero_plugin_rule_exists(plugin, text(put))); /* not set up yet */
    whole_log[0] = '\0';
    CHECK(p_omero_plugin_setup(plugin, text(argv[4])) == 0);
    CHECK(strstr(whole_log, "plugin_specific_configuration/omero/password_file: the password file /nonexistent"));
    CHECK(strstr(whole_log, "plugin_specific_configuration/importer/command: /nonexistent cannot be run"));
    CHECK(p_omero_plugin_start(plugin) == 0);
    CHECK(p_omero_plugin_rule_exists(plugin, text(put)));
    CHECK(!p_omero_plugin_rule_exists(plugin, text("pep_api_data_obj_get_post")));
    CHECK(!p_omero_plugin_rule_exists(plugin, text(NULL)));
    CHECK(p_omero_plugin_regex(plugin).size > 0);
    size_t names = 0;
    while (p_omero_plugin_rule_name(plugin, names).size > 0) {
        CHECK(p_omero_plugin_rule_exists(plugin, p_omero_plugin_rule_name(plugin, names)));
        ++names;
    }
    CHECK(names > 5);

    /* A server whose every call fails costs the client nothing. */
    CHECK(p_omero_plugin_pep(plugin, session, text(put), &object) == CONTINUE);
    CHECK(strstr(last_log, "cannot be read"));
    CHECK(p_omero_plugin_pep(plugin, NULL, text(put), &object) == CONTINUE);
    CHECK(p_omero_plugin_pep(plugin, session, text(put), NULL) == CONTINUE);
    CHECK(p_omero_plugin_pep(plugin, session, text(NULL), &object) == CONTINUE);
    object.text[0] = text("/tempZone/home/alice/\nomero: act=forged\xff/a");
    CHECK(p_omero_plugin_pep(plugin, session, text(put), &object) == CONTINUE);
    CHECK(!strchr(last_log, '\n'));
    object.text[0] = text("/tempZone/home/alice/../../etc/passwd");
    CHECK(p_omero_plugin_pep(plugin, session, text(put), &object) == CONTINUE);
    CHECK(strstr(last_log, "'..'"));
    object.kind = (omero_argument_kind) 99;
    CHECK(p_omero_plugin_pep(plugin, session, text(put), &object) == CONTINUE);

    /* A guard that cannot find an answer: metadata is not written, everything else goes on. */
    omero_argument unknown = {0};
    const char* metadata[] = {avu_pre, atomic_pre, "acPreProcForModifyAVUMetadata"};
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; ++i) {
        CHECK(p_omero_plugin_pep(plugin, session, text(metadata[i]), &unknown) == NOT_ALLOWED);
        CHECK(strstr(last_message, "so it was refused"));
        CHECK(p_omero_plugin_pep(plugin, session, text(metadata[i]), NULL) == NOT_ALLOWED);
        CHECK(p_omero_plugin_pep(plugin, NULL, text(metadata[i]), NULL) == NOT_ALLOWED);
    }
    CHECK(p_omero_plugin_pep(plugin, NULL, text(avu_pre), &forged) == NOT_ALLOWED);
    CHECK(p_omero_plugin_pep(plugin, NULL, text(avu_pre), &harmless) == CONTINUE);
    CHECK(p_omero_plugin_pep(plugin, NULL, text("pep_api_data_obj_put_pre"), &unknown) == CONTINUE);
    CHECK(p_omero_plugin_pep(plugin, session, text("pep_api_data_obj_put_pre"), NULL) == CONTINUE);
    /* The look-up is answered with garbage: what would be copied is not known. */
    const omero_argument copy = avu("cp", "/tempZone/home/alice/a.tif");
    CHECK(p_omero_plugin_pep(plugin, session, text(avu_pre), &copy) == NOT_ALLOWED);

    /* Answers of the server that are not of the promised form become an error code, and a line of the log. */
    const char* sweep = "{\"operation\":\"sweep\",\"collection\":\"10\"}";
    const char* status = "{\"operation\":\"status\"}";
    CHECK(p_omero_plugin_rule_text(plugin, session, text(status), false, false, write_output, NULL) < 0);
    CHECK(strstr(output, "cannot be read"));
    CHECK(p_omero_plugin_rule_text(plugin, session, text(status), false, false, NULL, NULL) < 0);
    /* What only jobs of the service account do. */
    CHECK(p_omero_plugin_rule_text(plugin, session, text(sweep), false, false, write_output, NULL) == NOT_ALLOWED);
    CHECK(p_omero_plugin_rule_text(plugin, session, text("writeLine()"), false, false, write_output, NULL) == CONTINUE);
    CHECK(p_omero_plugin_rule_text(plugin, session, text("writeLine()"), true, false, write_output, NULL) == -130000);
    CHECK(p_omero_plugin_is_function(plugin, text("omero_who")));
    CHECK(!p_omero_plugin_is_function(plugin, text(NULL)));
    const omero_text arguments[] = {text("alice"), text(NULL)};
    CHECK(p_omero_plugin_function(plugin, session, text("omero_who"), arguments, 2, assign, NULL) == -130000);
    CHECK(p_omero_plugin_function(plugin, session, text("omero_who"), arguments, 2, NULL, NULL) == -130000);
    CHECK(p_omero_plugin_function(plugin, session, text("omero_who"), NULL, 0, assign, NULL) == -130000);
    CHECK(p_omero_plugin_function(plugin, session, text("other"), arguments, 2, assign, NULL) == CONTINUE);
    CHECK(p_omero_plugin_function(plugin, NULL, text("omero_who"), arguments, 2, assign, NULL) == CONTINUE);
    CHECK(p_omero_plugin_rule_text(plugin, session, text(NULL), false, false, write_output, NULL) == CONTINUE);
    CHECK(p_omero_plugin_rule_text(plugin, session, text("{\"operation\":\"sweep\"}"), false, false, write_output, NULL) < 0);
    CHECK(strstr(output, "/collection"));
    CHECK(p_omero_plugin_stop(plugin) == 0);
    p_omero_plugin_free(plugin);
    CHECK(queries > 0); /* the look-ups did happen, and were answered with garbage */
    printf("%d checks\n", checks);
    return 0;
}
