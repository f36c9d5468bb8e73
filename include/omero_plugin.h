/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The boundary between the C++ shim (src/shim) and the Rust core (src/ffi), in both directions.
 *
 * Rules for every pointer here
 *  - An omero_text is borrowed: its bytes belong to the caller and live until the call returns. It is not
 *    NUL-terminated and need not be UTF-8. A null pointer with length 0 is the empty text.
 *  - An omero_buffer is filled by the shim and must be given back with omero_host.release exactly once,
 *    whether the call succeeded or not; releasing an empty buffer does nothing.
 *  - omero_session and omero_plugin are opaque. A session lives for the call it is passed to; a plugin from
 *    omero_plugin_new to omero_plugin_free.
 *  - No function here throws or panics across the boundary. The functions of omero_host return an iRODS error
 *    code (negative) or a value >= 0; those that the core is passed besides (omero_write, omero_assign) do not throw.
 *
 * What is answered where an answer cannot be found (a null pointer, an argument that cannot be read, an internal error)
 *  - Metadata that is about to be written (omero_plugin_pep of pep_api_mod_avu_metadata_pre,
 *    pep_api_atomic_apply_metadata_operations_pre, acPreProcForModifyAVUMetadata; or AVUs that are seen to come along
 *    with another operation) is refused with CAT_INSUFFICIENT_PRIVILEGE_LEVEL (-830000) and a sentence: the guard of our
 *    attributes is closed. Without a session nobody is an administrator; what names none of our attributes goes on.
 *  - Everything else goes on: RULE_ENGINE_CONTINUE, false, or the empty text. A null plugin declines everything.
 */
#ifndef OMERO_PLUGIN_H
#define OMERO_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed bytes. */
typedef struct omero_text {
    const char* data;
    size_t size;
} omero_text;

/* Bytes allocated by the shim. `size` does not count a terminating NUL. */
typedef struct omero_buffer {
    char* data;
    size_t size;
} omero_buffer;

/* One client connection, seen during one call: the server's ruleExecInfo_t. */
typedef struct omero_session omero_session;

/* One configured instance of the plugin. */
typedef struct omero_plugin omero_plugin;

/* What an operation's argument is. */
typedef enum omero_argument_kind {
    OMERO_ARGUMENT_NONE = 0,
    OMERO_ARGUMENT_DATA_OBJECT = 1, /* DataObjInp*: text[0] objPath, number openFlags, condition */
    OMERO_ARGUMENT_COPY = 2,        /* DataObjCopyInp*: text[0] source, text[1] destination, both conditions */
    OMERO_ARGUMENT_DESCRIPTOR = 3,  /* OpenedDataObjInp*: number l1descInx */
    OMERO_ARGUMENT_COLLECTION = 4,  /* CollInp*: text[0] collName, condition */
    OMERO_ARGUMENT_BYTES = 5,       /* BytesBuf*: text[0] its bytes */
    OMERO_ARGUMENT_AVU = 6,         /* ModifyAVUMetadataInput*: text[0..8] arg0..arg8; or the words of a static PEP */
    OMERO_ARGUMENT_BULK = 7,        /* BulkOperationInp*: text[0] objPath, condition */
    OMERO_ARGUMENT_STRUCT_FILE = 8  /* StructFileExtAndRegInp*: text[0] objPath, text[1] collection, condition */
} omero_argument_kind;

/* The first argument of an operation after instance name and plugin context. */
typedef struct omero_argument {
    omero_argument_kind kind;
    omero_text text[9];
    int32_t number;
    /* oprType of a data object or a collection; 0 elsewhere. */
    int32_t operation;
    /* The server's KeyValPair, for omero_host.keyword; null where there is none. */
    const void* condition;
    /* The same of a copy's source; null elsewhere. */
    const void* source_condition;
} omero_argument;

/* On what an AVU stands. */
typedef enum omero_entity {
    OMERO_ENTITY_DATA_OBJECT = 0,
    OMERO_ENTITY_COLLECTION = 1
} omero_entity;

/* The account that the server runs as in its zone; what the core writes is written in its name. */
typedef struct omero_account {
    omero_text name;
    omero_text zone;
} omero_account;

/* A condition of omero_host.list. */
typedef struct omero_condition {
    int32_t column;
    omero_text text;
} omero_condition;

/* How a data object is opened. */
typedef enum omero_opening {
    OMERO_OPENING_READ = 0,
    OMERO_OPENING_WRITE = 1, /* one that is there, to go on writing */
    OMERO_OPENING_CREATE = 2 /* one that is not there yet; one that is gives OVERWRITE_WITHOUT_FORCE_FLAG (-312000) */
} omero_opening;

/* Levels of omero_host.log. */
typedef enum omero_level {
    OMERO_LEVEL_ERROR = 0,
    OMERO_LEVEL_WARN = 1,
    OMERO_LEVEL_INFO = 2,
    OMERO_LEVEL_DEBUG = 3
} omero_level;

/* Receives one row; the texts are valid during the call only. Returning false ends the listing. */
typedef bool (*omero_row)(void* context, const omero_text* columns, size_t count);

/* What the core asks of the server. All functions may be called during a call that passed `session`, and only
 * from that thread. `privileged` raises the session's rights to those of the local administrator for the
 * length of the call. */
typedef struct omero_host {
    /* One line into the server's log. */
    void (*log)(omero_level level, omero_text line);

    /* GenQuery2: rows as a JSON array of arrays of strings in `json`. `query` must be without NUL. */
    int64_t (*query)(omero_session* session, bool privileged, omero_text query, omero_buffer* json);

    /* GenQuery1 (privileged), over the database connection the session has: the columns and conditions by their numbers in
     * rodsGenQuery.h, a condition's text as GenQuery1 takes it ("= 'x'"). Every row has as many texts as there are columns,
     * in their order, bytes as they are in the catalog. A text that is to be found must hold no quote. */
    int64_t (*list)(omero_session* session,
                    const int32_t* columns,
                    size_t column_count,
                    const omero_condition* conditions,
                    size_t condition_count,
                    omero_row row,
                    void* context);

    /* rs_atomic_apply_metadata_operations with the JSON `request`, as the service account. */
    int64_t (*apply_metadata)(omero_session* session, omero_account service, omero_text request);

    /* rsModAVUMetadata `operation` ("add", "rm") of one AVU, as the service account. Adding one that is there gives
     * CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME (-809000). Names may hold any byte but NUL. */
    int64_t (*modify_avu)(omero_session* session,
                          omero_account service,
                          omero_text operation,
                          omero_entity entity,
                          omero_text name,
                          omero_text attribute,
                          omero_text value,
                          omero_text units);

    /* Gives a data object a good replica on the (root) resource: registers a checksum if there is none, then rsDataObjRepl,
     * which verifies it (privileged). 0 also where a good one is there already. */
    int64_t (*replicate)(omero_session* session, omero_text path, omero_text resource);

    /* rsCollCreate, as the service account, with the collections above it where `parents` says so. One that is there
     * gives CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME (-809000) without `parents`. */
    int64_t (*make_collection)(omero_session* session, omero_account service, omero_text path, bool parents);

    /* rsRmColl of an empty collection, as the service account. */
    int64_t (*remove_collection)(omero_session* session, omero_account service, omero_text path);

    /* What follows is done as `user`: in that user's name, with that user's rights and no more. It is for the jobs of the
     * service account. API PEPs do not fire; those of resources and of the catalog do. */

    /* rsCollCreate with the collections above it; one that is there is no error. */
    int64_t (*make_collection_as)(omero_session* session, omero_account user, omero_text path);

    /* rsDataObjOpen, then rsDataObjLseek to `offset` bytes. `resource` (empty for the user's default) is where a new data
     * object goes. Gives a descriptor, which is to be closed as the same user. */
    int64_t (*open_as)(omero_session* session,
                       omero_account user,
                       omero_text path,
                       omero_opening how,
                       omero_text resource,
                       uint64_t offset);

    /* rsDataObjRead: at most `size` bytes; gives how many there were, 0 at the end. */
    int64_t (*read_as)(omero_session* session, omero_account user, int32_t descriptor, char* into, size_t size);

    /* rsDataObjWrite: gives how many bytes were written. */
    int64_t (*write_as)(omero_session* session, omero_account user, int32_t descriptor, omero_text bytes);

    /* rsDataObjClose. */
    int64_t (*close_as)(omero_session* session, omero_account user, int32_t descriptor);

    /* rsDataObjRename of a data object; nothing that is there is replaced. */
    int64_t (*rename_as)(omero_session* session, omero_account user, omero_text from, omero_text to);

    /* rsDataObjUnlink of a data object, for good and not into the trash. */
    int64_t (*remove_as)(omero_session* session, omero_account user, omero_text path);

    /* rsDataObjChksum: computes the checksum of a data object and registers it, anew where there is one. */
    int64_t (*checksum_as)(omero_session* session, omero_account user, omero_text path, omero_buffer* checksum);

    /* rsModDataObjMeta, as the service account: a replica that a process was writing when it died becomes stale, so that it
     * can be opened and removed again. */
    int64_t (*mark_stale)(omero_session* session, omero_account service, omero_text path, int32_t replica);

    /* Queues `text` for delayed execution under `conditions`, as a job of the service account; of the session's user where
     * `service` is null. */
    int64_t (*delay)(omero_session* session, const omero_account* service, omero_text text, omero_text conditions);

    /* rs_get_file_descriptor_info: JSON about an open descriptor. */
    int64_t (*descriptor)(omero_session* session, int32_t descriptor, omero_buffer* json);

    /* The session's client user: name and zone (borrowed from the session), and whether an administrator. */
    int64_t (*client)(omero_session* session, omero_text* name, omero_text* zone, bool* is_admin);

    /* The value of `key` in a KeyValPair; gives 1 and a borrowed text, or 0 where the key is not there. */
    int64_t (*keyword)(const void* condition, omero_text key, omero_text* value);

    /* Puts a sentence on the error stack the client prints. */
    void (*client_message)(omero_session* session, int64_t code, omero_text sentence);

    /* Gives a buffer back. */
    void (*release)(omero_buffer* buffer);
} omero_host;

/* ---- the core's functions, called by the shim ---- */

/* A plugin for an instance name. `host` must outlive it. Null after an internal error, which is in the log. */
omero_plugin* omero_plugin_new(const omero_host* host, omero_text instance);

/* Ends a plugin; null does nothing. */
void omero_plugin_free(omero_plugin* plugin);

/* Reads the configuration from `directory`/server_config.json. Always 0: a plugin whose configuration is wrong
 * loads, says so in the log, and declines every rule but those of the guard, which refuses to write our attributes by
 * their default names and by those that can be read; a rule text that is addressed to it ends with an error. */
int64_t omero_plugin_setup(omero_plugin* plugin, omero_text directory);

/* A new client connection begins, or ends. */
int64_t omero_plugin_start(omero_plugin* plugin);
int64_t omero_plugin_stop(omero_plugin* plugin);

/* The regular expression that names our PEPs, for RuleExistsHelper: those of the guard alone where nothing is watched.
 * Borrowed from the plugin. */
omero_text omero_plugin_regex(const omero_plugin* plugin);

/* Whether `rule` is ours. No allocation, no call to the host. */
bool omero_plugin_rule_exists(const omero_plugin* plugin, omero_text rule);

/* The i-th of our rules (borrowed, static); the empty text after the last. */
omero_text omero_plugin_rule_name(const omero_plugin* plugin, size_t i);

/* A PEP with its operation's first argument. Gives the code exec_rule ends with: RULE_ENGINE_CONTINUE, or a
 * negative code from a guard. `session` and `argument` may be null; see above for what is answered then. */
int64_t omero_plugin_pep(omero_plugin* plugin,
                         omero_session* session,
                         omero_text rule,
                         const omero_argument* argument);

/* Whether `name` is one of the functions that policies may call; false also where the plugin does not answer. No
 * allocation, no call to the host. */
bool omero_plugin_is_function(const omero_plugin* plugin, omero_text name);

/* A function called by a policy (the native rule language, the Python rule engine): its arguments are texts, which
 * the function may change through `assign`, called at most once for an argument (counted from 0) before this returns.
 * Gives 0, RULE_ENGINE_CONTINUE where `name` is no function of ours, or a negative code; then a sentence for the
 * client is on its error stack. */
typedef void (*omero_assign)(void* context, size_t argument, omero_text value);
int64_t omero_plugin_function(omero_plugin* plugin,
                              omero_session* session,
                              omero_text name,
                              const omero_text* arguments,
                              size_t count,
                              omero_assign assign,
                              void* context);

/* Rule text sent by a client (irule) or by the delay server. `addressed` says whether it is for this instance by name
 * (`irule -r`, or a job with <INST_NAME>) and not for whoever understands it; `is_job`, whether the delay server sent it:
 * where the configuration is wrong, a job of ours is left in the queue for later, without a word. `output` receives what the client is to
 * read; the core calls `write` at most once with it. Gives 0, RULE_ENGINE_CONTINUE where the text is not ours, or a
 * negative code; a text that is addressed to us and not understood is an error. */
typedef void (*omero_write)(void* context, omero_text text);
int64_t omero_plugin_rule_text(omero_plugin* plugin,
                               omero_session* session,
                               omero_text text,
                               bool addressed,
                               bool is_job,
                               omero_write write,
                               void* context);

#ifdef __cplusplus
}
#endif

#endif /* OMERO_PLUGIN_H */
