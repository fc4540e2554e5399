/* SPDX-License-Identifier: MIT */
/*
 * What the configuration of an image asks of that image: for its builder, before
 * a device has it. The guard itself takes the device as it is.
 */
#pragma once

#include "guard/config.h"

/*
 * Loads the configuration of the tree @root_fd into *ret, and looks for what it
 * names in that tree; the links of the tree are followed as they lead there.
 */
void confcheck(struct config *ret, int root_fd, config_warn_fn warn, void *userdata);
