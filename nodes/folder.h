/* folder - a data directory, made at need. */
#ifndef NODES_FOLDER_H
#define NODES_FOLDER_H

#include <stdint.h>

#include "mesh/base/rc.h"
#include "mesh/sentence.h"

/* Make the folder and its parents, mode 0700, where they are missing. RC_CONFIG with a sentence: it
 * cannot be made, is no folder, or may not be written. */
MUST_CHECK enum rc folder_make(const char *path, struct sentence *sentence);

/* RC_CONFIG with a sentence where the folder holds files, but none of `marks` (a NULL-terminated
 * list): it is somebody else's, and nothing is to be strewn into it. */
MUST_CHECK enum rc folder_is_ours(const char *path, const char *const *marks,
                                  struct sentence *sentence);

#define FOLDER_ROOM_BYTES_MIN 1048576u /* Less than this free: the disk is called full. */

/* RC_NO_SPACE with a sentence where less than bytes_min, and as much again as the folder's files
 * whose names end in `suffix` hold, is free. */
MUST_CHECK enum rc folder_has_room(const char *path, uint64_t bytes_min, const char *suffix,
                                   struct sentence *sentence);

#endif
