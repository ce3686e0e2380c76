"""The vocabulary: values without behaviour that every part of the project speaks."""
