"""Workers that sample and grade for a trainer, and sampling that runs ahead of learning."""
