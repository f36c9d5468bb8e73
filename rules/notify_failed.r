# Whoever owns data that could not be imported gets a mail, once for each data object: an AVU on a collection of the
# administrator remembers its number. (An administrator may read the data of others, but not write AVUs on it.)
#
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance -F notify_failed.r
#
# Run it as an administrator: the queries then see the data of everybody. It repeats itself; iqdel ends it. The mail is sent
# by the script omero_mail, which has to be in /var/lib/irods/msiExecCmd_bin (5.0.2 has no microservice for it).
notifyFailed {
    delay("<INST_NAME>irods_rule_engine_plugin-irods_rule_language-instance</INST_NAME><PLUSET>60s</PLUSET><EF>15m</EF>") {
        foreach (*row in SELECT DATA_ID, COLL_NAME, DATA_NAME, DATA_OWNER_NAME WHERE META_DATA_ATTR_NAME = 'irods::omero::state' AND META_DATA_ATTR_VALUE = 'failed') {
            *number = *row.DATA_ID;
            *path = *row.COLL_NAME ++ "/" ++ *row.DATA_NAME;
            *owner = *row.DATA_OWNER_NAME;
            *shown = *path;
            # The server divides a command's words at quotes.
            if (*path like "*'*" || *path like "*\"*") {
                *shown = "Your data object with the number *number";
            }
            *told = 0;
            foreach (*mail in SELECT META_COLL_ATTR_VALUE WHERE COLL_NAME = '*memory' AND META_COLL_ATTR_NAME = '*remembered' AND META_COLL_ATTR_VALUE = '*number') {
                *told = 1;
            }
            if (*told == 0) {
                *json = "";
                *code = errorcode(omero_state(*path, *json));
                # It may have been tried again meanwhile.
                if (*code == 0 && *json like regex ".*\"state\":\"failed\".*") {
                    # One that cannot be sent does not keep the others from being sent; it is tried again the next time.
                    *code = errorcode(msiExecCmd("omero_mail", "*owner@*domain \"*shown\"", "null", "null", "null", *out));
                    if (*code == 0) {
                        msiAddKeyVal(*note, *remembered, *number);
                        msiAssociateKeyValuePairsToObj(*note, *memory, "-C");
                    }
                }
            }
        }
    }
    writeLine("stdout", "who owns data that is not imported gets a mail at *domain");
}
INPUT *domain="example.org", *memory="/tempZone/home/rods", *remembered="lab::told_of_failure"
OUTPUT ruleExecOut
