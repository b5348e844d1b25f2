"""Pages: the verdict, the page of the study, the sample of answers."""
