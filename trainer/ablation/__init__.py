"""The ablation: one model, trained on one collection prepared in several ways, changing one thing at a time."""
