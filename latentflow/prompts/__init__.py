"""Pictures from prompts: walks through noise and words, and the steps of one picture, with any diffusers pipeline."""
