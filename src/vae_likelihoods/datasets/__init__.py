"""Where the images come from: sources (``conf/dataset``), their splits, and what training reads of them.

``base``       the contract of a source and the cutting of splits
``idx_files``  sources that are IDX files; ``mirrors`` and ``transfer`` bring them, ``idx`` parses them
``embedded``   sources that installed packages carry
``preparing``  writes ``data/prepared/<dataset>/``; ``contact_sheet`` draws its picture
``prepared``   opens it
``quantise``   native levels -> the K levels of a study
"""
