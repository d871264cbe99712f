"""Classification with PyTorch, Transformers and PEFT, described by the same TOML files."""
