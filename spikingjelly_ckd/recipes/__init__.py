"""What trains: networks, data and the loop around a distiller. Nothing here is imported by the core.

Import the module that is needed, such as ``from spikingjelly_ckd.recipes.models import spiking_resnet20``; this
package itself imports none, since each brings its own requirements (extra ``spikingjelly-ckd[train]``).
"""
