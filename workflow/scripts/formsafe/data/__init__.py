"""From raw rows to the study's data: corpus splits, sentences, formats with certificate, prompt sets, token counts.

In: raw rows. Out: training examples, prompts, certificates.
Grows: a prompt set is a configuration entry; a new kind of set is a function here.
"""
