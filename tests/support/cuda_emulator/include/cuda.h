// Included by the sources that TVM prints; builtins.h has what they use.
#pragma once
