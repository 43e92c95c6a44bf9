"""Parts of the shadow defence (``leakward.defenses.shadow_defense``), each pure maths."""
