#include "checks.h"

const char* handjax_jaxlib() { return HANDJAX_JAXLIB; }
