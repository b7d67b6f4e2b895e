"""Blocks of your own, one file each. A row of a YAML names the class of any file here, with its args as they are and
`c1` for the channels that come in: `- [-1, 1, MyBlock, [c1, 16]]`; docs/rows.md has all that a row may say. For rows
that leave `c1` out:

1. put its code into a new file in this folder, say MyBlock.py;
2. import it here: `from .MyBlock import *`;
3. ultralytics/nn/tasks.py imports everything from here: nothing to do for a name that is imported in this file;
4. in tasks.py put the class into `channel_modules` if it is called as Module(c1, c2, *args), into `repeat_modules` too
   if it takes the repeat count, Module(c1, c2, n, *args), or give it an `elif m is MyBlock:` in parse_model.

A block with `self.conv`, and `self.bn` right after it, may have a `forward_fuse` beside its `forward`, which leaves
the norm out: fuse() then folds it into the convolution. Without one the block stays as it is, and as exact.

Then a model YAML may name it. Of two files that export one name the later import wins, and tasks.py warns.
"""

from .BiFPN import *  # noqa: F403
from .CARAFE import *  # noqa: F403
from .DCNv2 import *  # noqa: F403
from .DynamicConv import *  # noqa: F403
from .DySample import *  # noqa: F403
from .EMA import *  # noqa: F403
from .FasterBlock import *  # noqa: F403
from .GSConv import *  # noqa: F403
from .LSKA import *  # noqa: F403
from .MLCA import *  # noqa: F403
from .ODConv import *  # noqa: F403
from .RFAConv import *  # noqa: F403
from .ScConv import *  # noqa: F403
from .SimAM import *  # noqa: F403
from .SPDConv import *  # noqa: F403
from .TripletAttention import *  # noqa: F403
