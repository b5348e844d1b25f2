"""The figures: each module draws one kind and knows nothing of files but what it is handed."""
